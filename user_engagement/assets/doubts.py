"""What is doubtful in the loaded data, each doubt as one sentence with its number.

The publishing asset computes the doubts once. Its checks, the command line and the dashboard's Data page show the
same sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import sqrt
from statistics import median

from user_engagement import formatting as fmt
from user_engagement.contracts.marts import USER_LEVEL
from user_engagement.contracts.raw import CHURN_DATA, REJECTED_ROWS, USER_ENGAGEMENT, USER_SIGNUPS, Window
from user_engagement.inputs.first_days import begin_after_strays
from user_engagement.inputs.held_up import ends_before, remembered
from user_engagement.publishing.generations import EVERY_FILE_READ, Doubt
from user_engagement.settings import PREFIX, Settings
from user_engagement.warehouse import WarehouseReader

MOST = 0.5
"""The share of a table's rows beyond which it is doubtful that they are left out, or repeated."""
SHORT_WAY = timedelta(days=7)
"""How far the newest days of signups, engagement and the horizon may lie apart."""
FEWEST_SIGNUPS = 5
EARLIER_WEEKS = 8
LARGEST_CHANGE = {True: 0.8, False: 0.5}
"""By which share the newest weeks may rise above, or fall below, those before: small companies grow by half."""
EARLIER_WINDOWS = 6
BEYOND_CHANCE = 4.75
"""Standard deviations that a normal variable exceeds once in a million times, on one side."""
MOST_DAYS_NAMED = 3

LEFT_OUT = {
    "null_user_id": "have no user id",
    "null_date": "have no date",
    "unparseable_date": "have a date that cannot be read",
    "orphan": "belong to no known user; compare the ids of both tables",
    "before_signup": "lie before the signup; compare the ids of both tables",
    "after_as_of": "lie after the last complete day",
    "duplicate_user": "are further signups of a user",
    "duplicate_event": "repeat an event id",
    "duplicate_churn": "are further cancellations of a user",
    "identical_row": "repeat another row exactly, and count; does the source deliver rows twice?",
}
"""Reasons for which some rows are usual, and most rows are doubtful."""
LARGEST_SHARE = {"identical_row": 1 / 3, "unparseable_date": 0.01}
"""Other shares: every second row of a table that was delivered twice, and dates of a mixed form."""
SHARE_OF_MONTH = 0.3
"""The same of one month, of which a file was copied."""
SET_ASIDE = {
    "implausible_date": "with a date that cannot be believed (see EARLIEST_DATE and SENTINEL_DATES) {were} left out",
    "day_before_signup": "on the day before a signup that has no time of day {were} counted on the signup day",
    "bot": "of bots and crawlers {were} left out (see SNOWPLOW_BOTS)",
    "stray_pings": "of page pings alone {were} left out",
}
"""Reasons for which no row is expected."""


@dataclass(frozen=True)
class Loaded:
    """What the doubts look at: rows of engagement by day, rows of each table by reason, and the horizon."""

    reader: WarehouseReader
    settings: Settings
    today: date
    as_of: date
    days: Mapping[date, int]
    reasons: Mapping[tuple[str, str], int]

    @property
    def newest_day(self) -> date | None:
        """The newest day with engagement before today."""
        return max((day for day in self.days if day < self.today), default=None)


def load(reader: WarehouseReader, settings: Settings, now: datetime) -> Loaded:
    as_of = reader.query("select as_of from lookups.horizon").column(0)[0].as_py()
    days = reader.query("select activity_date, total_rows from activity.row_counts").to_pylist()
    reasons = reader.mart("data_quality").read_all().to_pylist()
    return Loaded(
        reader,
        settings,
        now.astimezone(settings.zone).date(),
        as_of,
        {row["activity_date"]: row["total_rows"] for row in days},
        {(row["table_name"], row["reason"]): row["rows"] for row in reasons},
    )


def find_doubts(reader: WarehouseReader, settings: Settings, now: datetime) -> list[Doubt]:
    """Every doubt about what the warehouse holds; none for data that are as they should be."""
    loaded = load(reader, settings, now)
    return [Doubt(name, text) for name, (_, find) in CHECKS.items() for text in find(loaded)]


# -- the files ---------------------------------------------------------------------------------------------


def unreadable_files(loaded: Loaded) -> Iterator[str]:
    return (each.sentence() for each in remembered(loaded.reader))


def _is_held_up(loaded: Loaded) -> bool:
    """Whether the data end before rows that could not be read, and not where the source does."""
    return ends_before(remembered(loaded.reader)) == loaded.as_of


# -- the days ----------------------------------------------------------------------------------------------


def missing_days(loaded: Loaded) -> Iterator[str]:
    found = loaded.reader.query("select outage_date from activity.outages order by outage_date")
    days = found.column(0).to_pylist()
    if days:
        named = ", ".join(fmt.day(day) for day in days[:MOST_DAYS_NAMED])
        more = f" and {len(days) - MOST_DAYS_NAMED} more" if len(days) > MOST_DAYS_NAMED else ""
        yield (
            f"{USER_ENGAGEMENT.name}: {_count(len(days), 'day')} without any row, which the days around make all but "
            f"impossible: {named}{more}. Retention and activity over two such days or more in a row are marked "
            "incomplete. Load the rows that are missing."
        )


def early_signups(loaded: Loaded) -> Iterator[str]:
    months = loaded.reader.monthly_rows(f"raw.{USER_SIGNUPS.name}", USER_SIGNUPS.date_column)
    begin = begin_after_strays(months)
    if begin and loaded.settings.data_start is None:
        early = {month: rows for month, rows in months.items() if month < begin.isoformat()}
        yield (
            f"{USER_SIGNUPS.name}: {_count(sum(early.values()), 'row')} a year or more before all others, from "
            f"{min(early)[:7]} on. Cohorts, retention and churn begin with {begin:%Y-%m}. If they do not, set "
            f"{PREFIX}DATA_START."
        )


def odd_newest_days(loaded: Loaded) -> Iterator[str]:
    newest, as_of, name = loaded.newest_day, loaded.as_of, USER_ENGAGEMENT.name
    if not loaded.days and not _is_held_up(loaded):
        yield f"{name}: no row has a usable date, so nobody counts as active. Load the engagement."
    if newest is None or _is_held_up(loaded):
        return
    if loaded.settings.as_of:
        if as_of > newest:
            yield (
                f"{PREFIX}AS_OF is {fmt.day(as_of)}, but the newest engagement is of {fmt.day(newest)}: "
                "the days between count as days without activity."
            )
        return
    if newest - as_of > SHORT_WAY:
        yield (
            f"{name}: the newest row is of {fmt.day(newest)}, far from the other days, with next to no rows around "
            f"it: the data are taken to end on {fmt.day(as_of)}. If they do not, set {PREFIX}AS_OF."
        )
    if future := sum(rows for day, rows in loaded.days.items() if day > loaded.today):
        yield f"{name}: {_count(future, 'row')} after today, {fmt.day(loaded.today)}, left out."
    earlier = [loaded.days.get(as_of - timedelta(weeks=n), 0) for n in range(1, EARLIER_WEEKS + 1)]
    least, rows = min(earlier), loaded.days.get(as_of, 0)
    if rows < least / 2 and least - rows > BEYOND_CHANCE * sqrt(least):
        yield (
            f"{name}: the newest day, {fmt.day(as_of)}, has {_count(rows, 'row')}; the same weekday of the "
            f"{EARLIER_WEEKS} weeks before had {least:,} or more. If the day is not complete, set {PREFIX}AS_OF to the "
            "day before."
        )
    yield from _late_signups(loaded)


def _late_signups(loaded: Loaded) -> Iterator[str]:
    """Signups after the newest engagement, and those of days to come."""
    column = f"cast({USER_SIGNUPS.date_column} as date)"
    window = f"{column} > date '{loaded.as_of}' and {column} < date '{loaded.today}'"
    query = (
        f"select count(case when {window} then 1 end) as later, max(case when {window} then {column} end) as newest, "
        f"count(case when {column} > date '{loaded.today}' then 1 end) as future from raw.{USER_SIGNUPS.name}"
    )
    found = loaded.reader.query(query).to_pylist()[0]
    if found["future"]:
        yield (
            f"{USER_SIGNUPS.name}: {_count(found['future'], 'row')} after today, {fmt.day(loaded.today)}: "
            "these users are not known yet."
        )
    if found["later"] >= FEWEST_SIGNUPS and found["newest"] - loaded.as_of > SHORT_WAY:
        yield (
            f"{USER_SIGNUPS.name}: {_count(found['later'], 'row')} after the newest engagement, up to "
            f"{fmt.day(found['newest'])}: the data are taken to end on {fmt.day(loaded.as_of)}. Load the newer "
            "engagement."
        )


def unusual_volume(loaded: Loaded) -> Iterator[str]:
    history = (loaded.as_of - min(loaded.days, default=loaded.as_of)).days + 1
    for length, fewest, name in ((28, 3, "4 weeks"), (7, EARLIER_WINDOWS, "7 days")):
        windows = min(history // length - 1, EARLIER_WINDOWS)
        if windows < fewest:
            continue
        newest = _rows_before(loaded, 0, length)
        earlier = [_rows_before(loaded, n * length, length) for n in range(1, windows + 1)]
        usual = median(earlier)
        deviation = 1.4826 * median(abs(rows - usual) for rows in earlier)
        if abs(newest - usual) > max(
            LARGEST_CHANGE[newest > usual] * usual, 4 * deviation, BEYOND_CHANCE * sqrt(usual)
        ):
            yield (
                f"{USER_ENGAGEMENT.name}: the last {name} have {_count(newest, 'row')}; each of the {windows} times "
                f"{name} before had {usual:,.0f}, in the median. Look whether rows are missing or come twice."
            )
            return


def _rows_before(loaded: Loaded, back: int, length: int) -> int:
    last = loaded.as_of - timedelta(days=back)
    return sum(loaded.days.get(last - timedelta(days=n), 0) for n in range(length))


# -- the rows ----------------------------------------------------------------------------------------------


def most_left_out(loaded: Loaded) -> Iterator[str]:
    held_up = _is_held_up(loaded)
    for (table, reason), rows in sorted(loaded.reasons.items()):
        total = loaded.reasons.get((table, "total"), 0)
        is_usual = (table, reason) == (CHURN_DATA.name, "null_date") or (
            # somebody chose to look at an earlier day
            reason == "after_as_of" and loaded.settings.as_of is not None
        )
        # users who sign up after the horizon are not known yet
        is_usual = is_usual or (reason in ("after_as_of", "orphan") and held_up)
        most = LARGEST_SHARE.get(reason, MOST)
        if reason in LEFT_OUT and rows > most * total and not is_usual:
            example = _unreadable_date(loaded, table) if reason == "unparseable_date" else ""
            yield f"{table}: {rows:,} of {_count(total, 'row')} {LEFT_OUT[reason]}{example}."


def no_cancellations(loaded: Loaded) -> Iterator[str]:
    if not loaded.reasons.get((CHURN_DATA.name, "total")):
        yield (
            f"{CHURN_DATA.name}: no cancellation was loaded, so declared churn is 0 %. If there are any, load them; "
            "otherwise look at churn by inactivity."
        )


def _unreadable_date(loaded: Loaded, table: str) -> str:
    """One of the dates that cannot be read, and where it stands."""
    query = f"""
        select date_value, _source, _row_number from raw.{REJECTED_ROWS.name}
        where table_name = '{table}' and reason = 'unparseable_date' order by _source, _row_number limit 1
    """
    rows = loaded.reader.query(query).to_pylist()
    return "".join(
        f", such as {row['date_value']} in {row['_source']}, row {row['_row_number']:,}; write dates as 2025-03-31 or "
        "2025-03-31 14:05:00"
        for row in rows
    )


def repeated_months(loaded: Loaded) -> Iterator[str]:
    """Months of which rows were delivered twice, where other months are not."""
    query = f"select activity_date, sum(repetitions) as rows from {USER_LEVEL}.identical_days group by activity_date"
    repeated: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for found in loaded.reader.query(query).to_pylist():
        repeated[f"{found['activity_date']:%Y-%m}"] += int(found["rows"])
    for day, number in loaded.days.items():
        rows[f"{day:%Y-%m}"] += number
    months = sorted(month for month, number in repeated.items() if number > SHARE_OF_MONTH * rows[month])
    if months and sum(repeated.values()) <= LARGEST_SHARE["identical_row"] * sum(rows.values()):
        number = sum(repeated[month] for month in months)
        yield (
            f"{USER_ENGAGEMENT.name}: {number:,} of {_count(sum(rows[month] for month in months), 'row')} of "
            f"{fmt.enumeration(months)} {LEFT_OUT['identical_row']} Look for copies of files."
        )


def long_sessions(loaded: Loaded) -> Iterator[str]:
    """Durations of the newest days that are mostly longer than is believed, as in another unit."""
    day, most = USER_ENGAGEMENT.date_column, loaded.settings.max_session_seconds
    window = Window(loaded.as_of - timedelta(days=27), loaded.as_of + timedelta(days=1))
    found = loaded.reader.query(
        f"select count(session_duration) as given, count(case when session_duration > {most} then 1 end) as too_long, "
        f"max(session_duration) as longest from raw.{USER_ENGAGEMENT.name} where {window.predicate(day)}"
    ).to_pylist()[0]
    if found["too_long"] > MOST * found["given"]:
        yield (
            f"{USER_ENGAGEMENT.name}: {found['too_long']:,} of {_count(found['given'], 'session_duration')} of the "
            f"last 4 weeks are longer than {PREFIX}MAX_SESSION_SECONDS, {most:,.0f} s, up to {found['longest']:,.0f}, "
            "and count in no duration. Are they milliseconds? Deliver seconds."
        )


def ids_written_otherwise(loaded: Loaded) -> Iterator[str]:
    """Unknown users whose ids are those of known ones but for capitals and leading zeros."""
    alike = "lower(ltrim(user_id, '0'))"
    # events are many: their unknown ids are kept by day
    for table, rows in (
        (USER_ENGAGEMENT, f"(select unknown_user_id as user_id from {USER_LEVEL}.user_days)"),
        (CHURN_DATA, f"raw.{CHURN_DATA.name}"),
    ):
        if not loaded.reasons.get((table.name, "orphan")):
            continue
        ids = f"select distinct user_id, {alike} as alike from {{}} as listed where user_id is not null"
        (found,) = loaded.reader.query(f"""
            with known as ({ids.format(f"raw.{USER_SIGNUPS.name}")}), named as ({ids.format(rows)}),
            unknown as (select * from named where user_id not in (select user_id from known) and alike <> '')
            select count(*) as users, min(user_id) as first_id
            from unknown where alike in (select alike from known)
        """).to_pylist()
        if found["users"]:
            yield (
                f"{table.name}: {_count(found['users'], 'user id')} of {USER_SIGNUPS.name} in other capitals or with "
                f"other leading zeros, such as {found['first_id']}: their rows count for nobody. Write ids alike in "
                "all tables."
            )


def set_aside(loaded: Loaded) -> Iterator[str]:
    for (table, reason), rows in sorted(loaded.reasons.items()):
        if rows and reason in SET_ASIDE:
            what = SET_ASIDE[reason].format(were="was" if rows == 1 else "were")
            yield f"{table}: {_count(rows, 'row')} {what}."


def shared_event_ids(loaded: Loaded) -> Iterator[str]:
    found = loaded.reader.query("""
        select
            count(case when users > 1 then 1 end) as of_several_users,
            count(case when users <= 1 and days_apart > 1 then 1 end) as days_apart,
            coalesce(sum(rows_found), 0) as rows_found,
            min(event_id) as example
        from (
            select
                event_id,
                count(distinct user_id) as users,
                max(activity_date) - min(activity_date) as days_apart,
                count(*) as rows_found
            from user_level.repeated_events
            group by event_id
        ) as ids
        where users > 1 or days_apart > 1
    """).to_pylist()[0]
    several, apart = int(found["of_several_users"]), int(found["days_apart"])
    fix = "Make ids unique, or leave the column out."
    if not loaded.settings.event_ids_per_user:
        fix = f"If the ids of each user are counted on their own, set {PREFIX}EVENT_IDS_PER_USER=true; otherwise make "
        fix += "them unique, or leave the column out."
    if several or apart:
        parts = [f"{_count(several, 'event id')} with rows of several users"] if several else []
        parts += [f"{_count(apart, 'event id')} with rows days apart"] if apart else []
        yield (
            f"{USER_ENGAGEMENT.name}: {fmt.enumeration(parts)}, such as {found['example']}, "
            f"{_count(int(found['rows_found']), 'row')} in all. The first row of an id counts alone. {fix}"
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


CHECKS: dict[str, tuple[str, Callable[[Loaded], Iterator[str]]]] = {
    EVERY_FILE_READ: ("Every file of the source could be read.", unreadable_files),
    "no_day_is_missing": ("No day of engagement is missing among busy ones.", missing_days),
    "first_days_are_plausible": ("No signup lies long before all others.", early_signups),
    "newest_days_are_plausible": ("The newest days are near each other, and complete.", odd_newest_days),
    "volume_is_usual": ("The newest weeks have as many rows as those before.", unusual_volume),
    "most_rows_count": ("Most rows of each table count, once.", most_left_out),
    "cancellations_were_loaded": ("There are cancellations.", no_cancellations),
    "ids_are_written_alike": ("User ids of all tables agree in capitals and zeros.", ids_written_otherwise),
    "no_row_was_set_aside": ("No row is of a bot, or has a date that cannot be believed.", set_aside),
    "no_month_comes_twice": ("No month has many rows that repeat another.", repeated_months),
    "durations_are_seconds": ("Most durations of the newest weeks are believable.", long_sessions),
    "event_ids_are_unique": ("No event id has rows of several users or days.", shared_event_ids),
}
"""Each check with its description, and what finds its doubts."""
