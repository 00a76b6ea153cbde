"""Small random sources, crowded with everything that goes wrong at the edges of a KPI, and how to run them.

Hypothesis draws the settings of a world and a seed for every user; the seed tells the user's story. So a failing
world shrinks by losing users, and a world of dozens of users stays cheap to draw.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from dateutil.relativedelta import relativedelta
from hypothesis import strategies as st

from user_engagement.assets.dbt import NO_UNIT_TESTS, dbt_resource, window_args
from user_engagement.contracts.raw import RAW_TABLES, Window
from user_engagement.inputs.variables import dbt_vars
from user_engagement.publishing.export import export_marts
from user_engagement.settings import PREFIX, Settings, load_settings
from user_engagement.sources import FilesSource
from user_engagement.warehouse import open_warehouse
from user_engagement_tests.support.company import EXTRAS
from user_engagement_tests.support.oracle import Inputs, Row

SIGNUP_COLUMNS = ("user_id", "signup_date", "product_type")
ENGAGEMENT_COLUMNS = ("user_id", "engagement_date", "session_duration", "interaction_type")
CHURN_COLUMNS = ("user_id", "churn_date", "churn_reason")
CHURN_REASONS = ("price", None, "not used", "price", " ")

ATTRIBUTES = {
    "product_type": ("basic", "pro", "all", "", None),
    "acquisition_channel": ("ads", "friend", "unknown", " ", None),
    "country": ("NA", "DE", "Côte d'Ivoire", "", None),
    "plan": ("monthly", "yearly", None),
}
INTERACTIONS = ("visit", "visit", "lesson", "quiz", "", None)
DURATIONS = ("30", "60", "61.5", "600", "600.001", "3600", "86400", "86400.001", "1e9", "0", "-5", "", None)
DEVICES = ("phone", "desktop", None)
NO_DATES = (None, "", " ")
BAD_DATES = ("soon", "2024-02-30", "2024-13-01", "31/12/2023", "2023-02-29T10:00:00")
NO_USERS = (None, "", "  ")
ORPHANS = ("0007", "nobody", "7 7", "-1")
FIRST_IDS = ("7", "07", "007", "7a", "o'brien", "Zoë", "10", "9", "1e3", "NULL", "nan")

RHYTHMS = (
    *("never", "signup_day", "daily", "weekly", "sparse", "window_edges", "monthly", "burst_and_back"),
    *("anniversaries", "anniversaries"),
)
SIGNUP_DAYS = ("any", "month_end", "month_end", "first_day", "same_week", "as_of", "leap")
CHURNS = (
    "none",
    "none",
    "none",
    "some_day",
    "same_day",
    "several",
    "before_signup",
    "after_as_of",
    "last_day",
)
RESIGNUPS = ("none", "none", "none", "same_day", "later", "several", "copy", "after_as_of")


@dataclass(frozen=True)
class Story:
    """What kind of user somebody is; ``seed`` draws the days."""

    signup_day: str
    rhythm: str
    churn: str
    resignup: str
    seed: int

    @classmethod
    def of(cls, seed: int) -> Story:
        random = Random(seed)
        return cls(*(random.choice(kinds) for kinds in (SIGNUP_DAYS, RHYTHMS, CHURNS, RESIGNUPS)), seed=seed)


@dataclass(frozen=True)
class World:
    """A source and its settings: ``inputs`` is what the oracle sees of it."""

    inputs: Inputs
    columns: dict[str, tuple[str, ...]]
    file_format: str = "csv"
    files: int = 1

    def write(self, folder: Path) -> Path:
        """Writes the source; with several files, source order is the order of their names."""
        write_table(
            folder, "user_signups", self.columns["signups"], self.inputs.signups, self.file_format, self.files
        )
        engagement = self.inputs.engagement
        write_table(
            folder, "user_engagement", self.columns["engagement"], engagement, self.file_format, self.files
        )
        if self.inputs.churn is not None:
            write_table(folder, "churn_data", self.columns["churn"], self.inputs.churn, self.file_format, 1)
        return folder

    def settings(self, home: Path, source: Path, **overrides: Any) -> Settings:
        inputs = self.inputs
        given = {
            "home": home,
            "source": "files",
            "source_path": str(source),
            "as_of": inputs.as_of,
            "data_start": inputs.data_start,
            "timezone": inputs.timezone,
            "segments": inputs.segments,
            "active_window_days": inputs.active_window_days,
            "inactivity_days": inputs.inactivity_days,
            "max_session_seconds": inputs.max_session_seconds,
            "max_periods": inputs.max_periods,
        }
        return load_settings(**{**given, **overrides})


# -- files -------------------------------------------------------------------------------------------------


def write_table(
    folder: Path,
    name: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    file_format: str = "csv",
    files: int = 1,
) -> None:
    """Writes one table as a folder of files that hold the rows in their order."""
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    size = -(-len(rows) // files) or 1
    for number in range(files):
        part = rows[number * size : (number + 1) * size]
        if number == 0 or part:
            _write_file(target / f"part-{number:03d}.{file_format}", columns, part)


def _write_file(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    if path.suffix == ".parquet":
        table = pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in columns})
        pq.write_table(table, path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({name: row.get(name) for name in columns}) + "\n" for row in rows))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


# -- running -----------------------------------------------------------------------------------------------


@contextmanager
def at_home(home: Path) -> Iterator[None]:
    """No settings in the environment but the home folder, which dbt's profile reads there, and no extras."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update({**EXTRAS, PREFIX + "HOME": str(home)})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def marts_of(world: World, folder: Path, command: str = "run", **overrides: Any) -> dict[str, pa.Table]:
    """The marts of a world: the real extracts, the real warehouse and one real dbt run, without Dagster around."""
    home = folder / "home"
    with at_home(home):
        settings = world.settings(home, world.write(folder / "source"), **overrides)
        source = FilesSource(settings.source_path or "", settings.timezone)
        warehouse = open_warehouse(settings)
        for table in RAW_TABLES:
            warehouse.replace_slice(source.extract(table, Window()))
        call_dbt(settings, command)
        return exported(settings, folder / "marts")


def call_dbt(settings: Settings, command: str) -> None:
    """Every model over all months in one invocation: `run`, or `build` with the data tests."""
    with open_warehouse(settings).reader() as reader:
        variables = dbt_vars(reader, settings, datetime.now(settings.zone))
    only = NO_UNIT_TESTS if command == "build" else ()
    args = [command, *only, "--vars", json.dumps(variables), *window_args(Window())]
    dbt_resource(settings).cli(args, target_path=settings.dbt_target_dir).wait()


def exported(settings: Settings, folder: Path) -> dict[str, pa.Table]:
    return {
        name: pq.read_table(folder / f"{name}.parquet")
        for name, _ in export_marts(settings, folder, "parquet")
    }


def frame_of(table: pa.Table) -> pd.DataFrame:
    """A mart as a data frame that keeps what Arrow tells apart: None, numbers, dates."""
    return pd.DataFrame(
        {name: pd.Series(table[name].to_pylist(), dtype=object) for name in table.column_names}
    )


# -- users -------------------------------------------------------------------------------------------------


def user_ids(count: int) -> list[str]:
    return [*FIRST_IDS, *(f"{n:03d}" if n % 2 else f"user-{n}" for n in range(100, 100 + count))][:count]


def _signup_day(kind: str, first: date, as_of: date, random: Random) -> date:
    days = [first + timedelta(days=n) for n in range((as_of - first).days + 1)]
    if kind == "month_end":
        days = [d for d in days if d.day >= 29 or (d.month == 2 and d.day == 28)] or days
    elif kind == "leap":
        days = [d for d in days if d.month == 2] or days
    elif kind == "first_day":
        return first
    elif kind == "same_week":
        days = days[:7]
    elif kind == "as_of":
        return as_of
    return random.choice(days)


def _active_days(rhythm: str, signup: date, inputs: Inputs, random: Random) -> list[date]:
    length = (inputs.as_of - signup).days
    if rhythm == "never":
        offsets: list[int] = []
    elif rhythm == "signup_day":
        offsets = [0]
    elif rhythm == "daily":
        offsets = list(range(random.randint(1, 40)))
    elif rhythm == "weekly":
        offsets = list(range(random.randint(0, 6), length + 1, 7))
    elif rhythm == "monthly":
        offsets = list(range(random.randint(0, 5), length + 1, random.choice((28, 29, 30, 31))))
    elif rhythm == "window_edges":
        # gaps one short of a window, as long as it, and one longer: where an off-by-one shows
        offsets, windows = [random.choice((0, 1))], (inputs.inactivity_days, inputs.active_window_days, 7)
        while offsets[-1] < length:
            offsets.append(offsets[-1] + max(1, random.choice(windows) + random.choice((-1, 0, 1))))
    elif rhythm == "anniversaries":
        # the first or the last day of a relative month, which month ends clamp
        firsts = [signup + relativedelta(months=k) for k in range(length // 28 + 1) if random.random() < 0.4]
        offsets = sorted({(day - signup).days - random.choice((0, 0, 1)) for day in firsts} - {-1})
    elif rhythm == "burst_and_back":
        back = random.randint(20, 80)
        offsets = [*range(5), *range(back, back + random.randint(1, 5))]
    else:
        offsets = random.sample(range(length + 1), min(length + 1, random.randint(1, 8)))
    return [signup + timedelta(days=n) for n in offsets if n <= length]


@dataclass
class Builder:
    """Collects the rows of a world, user by user."""

    inputs: Inputs
    first: date
    columns: dict[str, tuple[str, ...]]
    clock: str
    random: Random

    def __post_init__(self) -> None:
        self.signups: list[Row] = []
        self.engagement: list[Row] = []
        self.churn: list[Row] = []
        self._event = 0

    def tell(self, user_id: str, story: Story) -> None:
        """Adds the rows of one user."""
        random, as_of = Random(f"{user_id} {story.seed}"), self.inputs.as_of
        signup = _signup_day(story.signup_day, self.first, as_of, random)
        self.sign_up(user_id, self.text(signup, random), random)
        self._sign_up_again(user_id, signup, story.resignup, random)
        for day in _active_days(story.rhythm, signup, self.inputs, random):
            for _ in range(random.choice((1, 1, 1, 2, 3))):
                self.act(user_id, self.text(day, random), random)
        self._leave(user_id, signup, story.churn, random)

    def text(self, day: date, random: Random) -> str:
        """A day as a source would write it: the day, a local timestamp, or one with an offset of any zone."""
        style = random.choice(("day", "local", "offset")) if self.clock == "mixed" else self.clock
        if style == "day":
            return day.isoformat()
        moment = datetime.combine(
            day, random.choice((time(0, 0), time(1, 30), time(12, 5, 9), time(23, 59, 59)))
        )
        if style == "local":
            return moment.isoformat(sep=random.choice("T "))
        aware = moment.replace(tzinfo=ZoneInfo(self.inputs.timezone))
        return aware.astimezone(
            ZoneInfo(random.choice(("UTC", "Asia/Kolkata", "America/New_York")))
        ).isoformat()

    def sign_up(self, user_id: str | None, day: str | None, random: Random) -> None:
        values = {
            name: random.choice(ATTRIBUTES[name]) for name in self.columns["signups"] if name in ATTRIBUTES
        }
        self.signups.append({"user_id": user_id, "signup_date": day, **values})

    def act(self, user_id: str | None, day: str | None, random: Random, event_id: str | None = None) -> None:
        self._event += 1
        with_id = "event_id" in self.columns["engagement"] and random.random() < 0.7
        row = {
            "user_id": user_id,
            "engagement_date": day,
            "session_duration": random.choice(DURATIONS),
            "interaction_type": random.choice(INTERACTIONS),
            "event_id": event_id or (f"e{self._event}" if with_id else None),
            "device_type": random.choice(DEVICES),
        }
        self.engagement.append({name: row[name] for name in self.columns["engagement"]})

    def leave(self, user_id: str | None, day: str | None) -> None:
        reason = CHURN_REASONS[len(self.churn) % len(CHURN_REASONS)]
        self.churn.append({"user_id": user_id, "churn_date": day, "churn_reason": reason})

    def _sign_up_again(self, user_id: str, signup: date, kind: str, random: Random) -> None:
        later = [signup + timedelta(days=random.randint(1, 60)) for _ in range(3)]
        within = [day for day in later if day <= self.inputs.as_of]
        days = {
            "none": [],
            "copy": [],
            "same_day": [signup],
            "later": within[:1],
            "several": [signup, *within],
            "after_as_of": [self.inputs.as_of + timedelta(days=random.randint(1, 9))],
        }[kind]
        for day in days:
            self.sign_up(user_id, self.text(day, random), random)
        if kind == "copy":
            self.signups.append(dict(self.signups[-1]))

    def _leave(self, user_id: str, signup: date, kind: str, random: Random) -> None:
        as_of, length = self.inputs.as_of, (self.inputs.as_of - signup).days
        some = [signup + timedelta(days=random.randint(0, length)) for _ in range(3)]
        days = {
            "none": [],
            "some_day": some[:1],
            "same_day": [signup],
            "several": some,
            "before_signup": [signup - timedelta(days=random.randint(1, 40)), *some[:1]],
            "after_as_of": [as_of + timedelta(days=1)],
            "last_day": [as_of],
        }[kind]
        for day in days:
            self.leave(user_id, self.text(day, random))

    def soil(self, amount: int) -> None:
        """Adds rows that the contract leaves out, and rows that it only seems to."""
        random, as_of = self.random, self.inputs.as_of
        known = [str(row["user_id"]) for row in self.signups]
        span = [self.first - timedelta(days=400), self.first, as_of, as_of + timedelta(days=1)]
        days = [*span, as_of + timedelta(days=45), self.first + (as_of - self.first) / 2]
        for _ in range(amount):
            user = random.choice((*known, *known, *NO_USERS, *ORPHANS, "future"))
            day = random.choice((*(d.isoformat() for d in days), *NO_DATES, *BAD_DATES))
            self.act(user, day, random)
            if random.random() < 0.4:
                self.leave(random.choice((*known, *NO_USERS, *ORPHANS)), day)
            if random.random() < 0.3:
                self.sign_up(
                    random.choice(NO_USERS), random.choice((as_of.isoformat(), None, "soon")), random
                )
                self.sign_up(random.choice(known), random.choice((*NO_DATES, *BAD_DATES)), random)
        if amount:
            self.sign_up("future", (as_of + timedelta(days=3)).isoformat(), random)
        for row in random.choices(self.engagement, k=amount if self.engagement else 0):
            self.engagement.append(dict(row))  # delivered twice: a duplicate event, or an identical row
            moved = random.choice(self.engagement)
            if row.get("event_id"):
                self.engagement.append({**moved, "event_id": row["event_id"]})

    def world(self, file_format: str, files: int, with_churn: bool) -> World:
        for rows in (self.signups, self.engagement, self.churn):
            self.random.shuffle(rows)
        churn = _usable(self.churn, "churn_date") if with_churn else None
        inputs = replace(
            self.inputs,
            signups=self.signups,
            engagement=_usable(self.engagement, "engagement_date"),
            churn=churn,
        )
        return World(inputs, self.columns, file_format, files)


def _usable(rows: list[Row], column: str) -> list[Row]:
    """The rows, or none where no date among them is usable: the source is then refused as a whole."""
    return rows if any(row[column] not in (*NO_DATES, *BAD_DATES) for row in rows) else []


# -- strategies --------------------------------------------------------------------------------------------

SPANS = (
    (date(2024, 1, 1), date(2024, 3, 31)),
    (date(2023, 12, 29), date(2024, 5, 17)),
    (date(2024, 1, 29), date(2024, 4, 29)),
    (date(2023, 1, 31), date(2023, 6, 30)),
    (date(2024, 2, 28), date(2024, 6, 1)),
    (date(2023, 10, 15), date(2024, 2, 29)),
    (date(2022, 11, 30), date(2023, 2, 28)),
    (date(2024, 5, 6), date(2024, 7, 14)),
    (date(2019, 1, 31), date(2024, 2, 29)),  # five years: longer than any number of published periods
)


@st.composite
def worlds(draw: st.DrawFn, min_users: int = 20, max_users: int = 60) -> World:
    """A world of some dozens of users, clean or dirty."""
    first, as_of = draw(st.sampled_from(SPANS))
    further = draw(st.sets(st.sampled_from(("acquisition_channel", "country", "plan"))))
    optional = draw(st.sets(st.sampled_from(("event_id", "device_type"))))
    columns = {
        "signups": (*SIGNUP_COLUMNS, *sorted(further)),
        "engagement": (*ENGAGEMENT_COLUMNS, *sorted(optional)),
        "churn": CHURN_COLUMNS,
    }
    segments = [None, None, ("product_type",), ()]
    if "plan" in further:
        segments.append(("plan", "product_type"))
    inputs = Inputs(
        signups=(),
        engagement=(),
        churn=None,
        as_of=as_of,
        data_start=draw(
            st.sampled_from((None, None, None, first + timedelta(days=20), first + timedelta(days=40)))
        ),
        timezone=draw(
            st.sampled_from(("UTC", "UTC", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"))
        ),
        segments=draw(st.sampled_from(segments)),
        active_window_days=draw(st.sampled_from((28, 28, 7, 2, 30))),
        inactivity_days=draw(st.sampled_from((28, 28, 7, 2, 30, 90))),
        max_session_seconds=draw(st.sampled_from((86_400.0, 86_400.0, 3_600.0, 600.0))),
        max_periods=draw(st.sampled_from((24, 24, 60, 6, 1))),
    )
    clock = draw(st.sampled_from(("day", "day", "local", "mixed")))
    builder = Builder(inputs, first, columns, clock, Random(draw(st.integers(0, 2**16))))
    seeds = draw(st.lists(st.integers(0, 2**16), min_size=min_users, max_size=max_users))
    for user_id, seed in zip(user_ids(len(seeds)), seeds, strict=True):
        builder.tell(user_id, Story.of(seed))
    builder.soil(draw(st.integers(0, 25)))
    return builder.world(
        file_format=draw(st.sampled_from(("csv", "csv", "jsonl", "parquet"))),
        files=draw(st.integers(1, 3)),
        with_churn=draw(st.sampled_from((True, True, True, False))),
    )


def small_world(
    signups: Sequence[Row], engagement: Sequence[Row], churn: Sequence[Row] | None = None, **settings: Any
) -> World:
    """A world of rows written out, whose columns are those of the first rows."""
    columns = {"signups": tuple(signups[0]), "engagement": tuple(engagement[0]), "churn": CHURN_COLUMNS}
    return World(Inputs(signups, engagement, churn, **settings), columns)


def crowded_world(seed: int, users: int = 40) -> World:
    """A world that is the same on every call: all columns, every kind of user, much dirt."""
    random = Random(seed)
    columns = {
        "signups": (*SIGNUP_COLUMNS, "acquisition_channel", "country"),
        "engagement": (*ENGAGEMENT_COLUMNS, "event_id", "device_type"),
        "churn": CHURN_COLUMNS,
    }
    inputs = Inputs(signups=(), engagement=(), churn=None, as_of=date(2024, 4, 17))
    builder = Builder(inputs, date(2024, 1, 29), columns, "mixed", random)
    for user_id in user_ids(users):
        builder.tell(user_id, Story.of(random.randrange(2**16)))
    builder.soil(30)
    return builder.world("csv", files=1, with_churn=True)
