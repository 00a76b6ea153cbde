"""What raw values mean, as DuckDB SQL fragments that every source shares.

A fragment takes a SQL expression, and where it matters the DuckDB type (``kind``) that the expression has, so
that an id, a date or a number counts the same whether it comes from a file or from a database. Most values need
no care, which a pattern shows; only the others take the long way.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from user_engagement.contracts.raw import CHURN_DATA, IDS, RawTable, SqlType, Window
from user_engagement.settings import EARLIEST_DATE, MISSING_WORDS

NO_DATE = date(1000, 1, 1)
"""The month with which rows without a usable date count in fingerprints."""
DAY_NUMBER = 2**40
"""What a day is worth in the row numbers of a table without an order: more rows than it can hold."""
LATEST_YEAR = 2900
"""Years from here on (2999, 9999) say that something has not ended, in no zone that it happened."""
DAY = r"[1-9]\d{3}-\d{2}-\d{2}"
CLOCK = r"[Tt ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?"
PLAIN_CLOCK = r"[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
PLAIN_OFFSET = r"(Z|[+-][01]\d(:?[0-5]\d)?)"
OFFSET = r" ?(Z|z|UTC|GMT|[+-][01]\d(:?[0-5]\d)?)"
BLANKS = (
    r"[\x{00}-\x{20}\x{7f}-\x{a0}\x{ad}\x{1680}\x{180e}\x{2000}-\x{200f}\x{2028}-\x{202f}\x{205f}-\x{206f}"
    r"\x{3000}\x{feff}]"
)
"""Blanks, controls, and invisible letters such as zero-width spaces and byte order marks."""
BLANKS_AROUND = re.compile(
    re.sub(r"\\x\{(\w+)\}", lambda code: re.escape(chr(int(code[1], 16))), f"^{BLANKS}+|{BLANKS}+$")
)
SCIENTIFIC = r"-?\d(\.\d+)?[eE]\+\d{2}|-?\d\.\d+E\d+"
"""Integers as Python, JavaScript, .NET and Java write large floats; ids such as `1e10` may be hexadecimal."""
PLAIN_ID = r"[!-*,\-/-~]*"
"""What may stand within an id that is no number with a fraction or an exponent."""
TEXT_TYPES = ("VARCHAR", "JSON")
INTEGER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
FLOAT_TYPES = ("FLOAT", "DOUBLE", "DECIMAL")
NUMBER_TYPES = (*INTEGER_TYPES, *(f"U{name}" for name in INTEGER_TYPES), *FLOAT_TYPES)
DATE_TYPES = ("DATE", "TIMESTAMP")
DURATION_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Parts of a second in the kinds ``DURATION(unit)``: whole numbers that a file marks as lengths of time."""
NESTED_TYPE = re.compile(r"(STRUCT|MAP|UNION)\(.*|.*\]")
ZONED = "TIMESTAMP WITH TIME ZONE"
ZONED_TYPES = (ZONED, "TIMESTAMPTZ_NS")
"""Instants; those to the nanosecond, as pandas writes them, reach no further than the year 2262."""


def quoted(value: object) -> str:
    """A value as a SQL text literal."""
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def column_name(name: str, position: int) -> str:
    """A source's column name as the warehouse writes it: lower case, words of any script joined by ``_``."""
    name = BLANKS_AROUND.sub("", name)
    composed = unicodedata.normalize("NFC", name.lower())
    # vowel signs of Indian and Thai scripts are marks, which \w leaves out
    kept = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else "_" for c in composed)
    return re.sub(
        r"_+", lambda run: run[0] if run.start() == 0 and name[0] == "_" else "_", "".join(kept)
    ) or (f"column_{position}")


def text(raw: str) -> str:
    return f"cast({raw} as varchar)"


def _as_text(raw: str, kind: str) -> str:
    return raw if kind == "VARCHAR" else text(raw)


def stripped(value: str) -> str:
    """A text without what cannot be seen around it."""
    return f"regexp_replace({value}, '^{BLANKS}+|{BLANKS}+$', '', 'g')"


def is_object(value: str) -> str:
    """Whether a text is a JSON object or list; an id in braces is none."""
    return rf"""coalesce(regexp_matches({value}, '^\s*(\{{\s*["}}]|\[\s*["\d\[{{\]])'), false)"""


def seconds(raw: str, kind: str) -> str:
    """A value as a finite number; null for what is none. Lengths of time are in seconds."""
    if kind == "INTERVAL":
        return f"epoch({raw})"
    if unit := re.fullmatch(r"DURATION\((\w+)\)", kind):
        return f"cast({raw} as double) / {DURATION_UNITS[unit[1]]}"
    value = f"try_cast({raw} as double)"
    if kind.startswith(TEXT_TYPES):
        value = f"coalesce({value}, try_cast({stripped(text(raw))} as double))"
    return value if kind.startswith(INTEGER_TYPES) else f"case when isfinite({value}) then {value} end"


def type_problem(wanted: SqlType, kind: str) -> str | None:
    """What a column of the contract should be, if one of this kind cannot be it; nulls alone always can."""
    lengths = ("INTERVAL", "DURATION")
    allowed = {
        "TIMESTAMP": (*TEXT_TYPES, *DATE_TYPES),
        "DOUBLE": (*TEXT_TYPES, *NUMBER_TYPES, *lengths),
    }.get(wanted)
    if not NESTED_TYPE.fullmatch(kind) and (allowed is None or kind.startswith((*allowed, '"NULL"'))):
        return None
    return {"TIMESTAMP": "a date, a timestamp or ISO text", "DOUBLE": "a number"}.get(wanted, "text")


def day_and_position(local: str, position: str) -> str:
    """The row number of a table that has no order of its own: its day above, the position within the day below."""
    return f"datediff('day', cast('0001-01-01' as date), cast({local} as date)) * {DAY_NUMBER} + {position}"


def may_be_within(raw: str, kind: str, window: Window) -> str:
    """A condition on a bare date column that no row of the window fails, by which storage skips what it can."""
    if not kind.startswith(DATE_TYPES):
        return "true"
    if not kind.startswith(ZONED_TYPES):
        return window.predicate(raw)
    # wider than any zone is off UTC: the exact edges are then the warehouse's own, whatever edition of the
    # time zone rules it has
    margin = timedelta(days=2)
    return Window(window.start and window.start - margin, window.end and window.end + margin).predicate(raw)


def instant(day: date, timezone: str) -> datetime:
    """The moment, in UTC, at which a calendar day of the zone begins.

    Python's time zone rules decide; where DuckDB's decide the exact slice, leave a margin.
    """
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC)


@dataclass(frozen=True)
class ValueRules:
    """What the settings say of values.

    Args:
        timezone: the zone whose calendar days count. Moments with an offset are moved into it; those without
            one are taken to be in it.
        missing_words: what stands for a missing value, in any case.
        earliest_date: no date before it is believed.
        sentinel_dates: days that say "unknown" or "never", beside those before ``earliest_date`` and from the
            year 2900 on.
    """

    timezone: str = "UTC"
    missing_words: tuple[str, ...] = MISSING_WORDS
    earliest_date: date = EARLIEST_DATE
    sentinel_dates: tuple[date, ...] = ()

    # -- texts and ids -----------------------------------------------------------------------------------

    def clean(self, value: str) -> str:
        """A text without blanks around it; null where nothing is left, or a word for a missing value."""
        bare = stripped(value)
        return (
            f"case when {self._begins_and_ends_plainly(value)} then {value} "
            f"when not {self._says_nothing(bare, self.missing_words)} then {bare} end"
        )

    def value(self, name: str, raw: str, kind: str) -> str:
        """A text column as raw tables hold it, by its name there."""
        if name in IDS:
            return self.identity(raw, kind, placeholders="[0-]+" if name == "event_id" else None)
        return self.clean(_as_text(raw, kind)) if kind.startswith(TEXT_TYPES) else text(raw)

    def identity(self, raw: str, kind: str, placeholders: str | None = None) -> str:
        """An id as raw tables hold it; an integer is written as such, whatever holds it.

        What matches the pattern ``placeholders`` is no id.
        """
        if kind.startswith(INTEGER_TYPES):
            return text(f"nullif({raw}, 0)") if placeholders else text(raw)
        if kind.startswith(FLOAT_TYPES):
            whole = f"cast(try_cast({raw} as hugeint) as varchar)"
            zero = f"when {raw} = 0 then null " if placeholders else ""
            return (
                f"case {zero}when not isfinite({raw}) then null "
                f"when {raw} = trunc({raw}) then coalesce({whole}, {text(raw)}) else {text(raw)} end"
            )
        value = _as_text(raw, kind)
        bare = stripped(value)
        no_id = f"or regexp_full_match({bare}, '({placeholders})(\\.0*)?') " if placeholders else ""
        whole = f"try_cast({bare} as decimal(38, 0))"
        return (
            f"case when {self._is_plain_id(value, bool(placeholders))} then {value} "
            f"when {self._says_nothing(bare, self.missing_words)} {no_id}then null "
            f"when regexp_full_match({bare}, '{SCIENTIFIC}') and {whole} = try_cast({bare} as double) "
            f"then cast({whole} as varchar) "
            rf"else regexp_replace({bare}, '^(-?\d+)\.0*$', '\1') end"
        )

    def _begins_and_ends_plainly(self, value: str) -> str:
        """Whether the first and the last letter of a text show that it is a value as it stands.

        Where a column has a dictionary, DuckDB evaluates ``glob`` once per distinct value, but regular expressions once
        per row. Each further function would take a vector in every column of a wide table.
        """
        # a class that begins with an exclamation mark is one of all other letters
        first = "".join(each for each in self._plain_first_letters() if each not in r"[]\!^-")
        return f"({value} glob {quoted(f'[{first}]*')} and {value}[-1] glob '[\"-~]')"

    def _is_plain_id(self, value: str, placeholders: bool) -> str:
        """Whether a text shows at once that it is an id as it stands: ASCII, and no word's or blank's beginning."""
        doubtful = "0-." if placeholders else ""
        first = "".join(
            f"\\x{{{ord(each):x}}}" for each in self._plain_first_letters() if each not in doubtful
        )
        lead = "[0-]*" if placeholders else ""
        return f"regexp_full_match({value}, '{lead}[{first}](?:{PLAIN_ID}[!-~])?')"

    def _plain_first_letters(self) -> str:
        """The ASCII letters that begin no word for a missing value, and are no blanks."""
        words = "".join(word[0] for word in self.missing_words)
        return "".join(
            each for each in map(chr, range(0x21, 0x7F)) if each not in words.lower() + words.upper()
        )

    def _says_nothing(self, value: str, words: tuple[str, ...]) -> str:
        # one pattern rather than a list, of which every word would take memory for each column
        listed = "|".join(re.escape(word) for word in words)
        return f"coalesce(regexp_full_match({value}, {quoted(f'(?i)({listed})?')}), true)"

    def blank(self, value: str) -> str:
        """Whether a date or a number, as text, says nothing. (In other texts NA may be Namibia.)"""
        return self._says_nothing(stripped(value), (*self.missing_words, "na"))

    def seconds(self, raw: str, kind: str) -> str:
        """A value as a finite number; null for what is none."""
        return seconds(raw, kind)

    def not_a_number(self, raw: str, kind: str) -> str:
        """Whether a value says something that is no number."""
        if not kind.startswith(TEXT_TYPES):
            return "false"
        value = text(raw)
        given, bare = (f"try_cast({each} as double) is null" for each in (value, stripped(value)))
        return f"({given} and {bare} and not {self.blank(value)})"

    # -- dates -------------------------------------------------------------------------------------------

    def local_time(self, raw: str, kind: str) -> str:
        """A date column as wall-clock time in the zone; null for what is no usable date.

        Text counts when it is an ISO day or timestamp; without an offset it is taken to be in the zone.
        """
        if kind.startswith(ZONED_TYPES):
            return self._plausible(f"timezone({quoted(self.timezone)}, cast({raw} as timestamptz))")
        if kind.startswith(DATE_TYPES):
            return self._plausible(f"try_cast({raw} as timestamp)")
        value = _as_text(raw, kind)
        dashes = f"substr({value}, 5, 1) = '-' and substr({value}, 8, 1) = '-'"
        believed = self.is_believed(value)
        return (
            # plain days are by far the most frequent and need no regular expression
            f"case when length({value}) = 10 and {dashes} and {believed} then try_cast({value} as timestamp) "
            f"when regexp_full_match({value}, '{DAY}{PLAIN_CLOCK}') and {believed} then try_cast({value} as timestamp) "
            f"when regexp_full_match({value}, '{DAY}{PLAIN_CLOCK}{PLAIN_OFFSET}') and {believed} "
            f"then {self._moved(value)} else {self._parsed(f'upper({stripped(value)})')} end"
        )

    def _parsed(self, value: str) -> str:
        value = f"regexp_replace(replace({value}, ',', '.'), '{BLANKS}+', ' ', 'g')"
        # DuckDB knows Z, but not UTC right behind the seconds, nor a blank before an offset
        moment = f"regexp_replace(regexp_replace({value}, 'UTC|GMT', 'Z'), ' ([Z+-])', '\\1')"
        return (
            f"case when not {self.is_believed(value)} then null "
            f"when regexp_full_match({value}, '{DAY}({CLOCK})?') then try_cast({value} as timestamp) "
            f"when regexp_full_match({value}, '{DAY}{CLOCK}{OFFSET}') then {self._moved(moment)} end"
        )

    def _moved(self, value: str) -> str:
        return f"timezone({quoted(self.timezone)}, try_cast({value} as timestamptz))"

    def is_believed(self, value: str) -> str:
        """Whether the day with which a text begins is believed."""
        believed = f"{value} >= '{self.earliest_date}' and {value} < '{LATEST_YEAR}'"
        if self.sentinel_dates:
            believed += f" and substr({value}, 1, 10) not in ({', '.join(map(quoted, self.sentinel_dates))})"
        return f"({believed})"

    def _plausible(self, local: str) -> str:
        usable = f"{local} >= '{self.earliest_date}' and {local} < '{LATEST_YEAR}-01-01'"
        if self.sentinel_dates:
            days = ", ".join(f"date '{day}'" for day in self.sentinel_dates)
            usable += f" and cast({local} as date) not in ({days})"
        return f"case when {usable} then {local} end"

    def says_no_date(self, table: RawTable, raw: str) -> str:
        """Whether a text says that there is no date; a sentinel among cancellations does."""
        return (
            f"({self.blank(raw)} or {self._is_implausible(raw)})" if table == CHURN_DATA else self.blank(raw)
        )

    def rejected_reason(self, table: RawTable, user: str, when: str) -> str:
        """Why a row without a usable date is rejected, from its date as text: the first reason that applies.

        A sentinel among cancellations says that there is none.
        """
        implausible = "'null_date'" if table == CHURN_DATA else "'implausible_date'"
        return (
            f"case when {user} is null then 'null_user_id' when {self.blank(when)} then 'null_date' "
            f"when {self._is_implausible(when)} then {implausible} else 'unparseable_date' end"
        )

    def _is_implausible(self, raw: str) -> str:
        """Whether a text that is no usable date names a day, but one that is not believed."""
        value = stripped(raw)
        return (
            rf"(regexp_matches({value}, '(?i)^-?infinity$|^[+-]?\d{{5,}}-|^-\d{{4}}-|\(BC\)$|^0(\.0)?$') "
            rf"or regexp_matches({value}, '^\d{{4}}-\d\d-\d\d') "
            f"and not {self.is_believed(value)})"
        )


DEFAULT_RULES = ValueRules()
