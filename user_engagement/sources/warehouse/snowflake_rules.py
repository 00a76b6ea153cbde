"""The meaning of raw values, as Snowflake's SQL.

Nothing here depends on input formats of the session, and no pattern needs a backslash, which Snowflake reads twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from user_engagement.contracts.raw import IDS
from user_engagement.sources.normalise import (
    BLANKS,
    DATE_TYPES,
    FLOAT_TYPES,
    INTEGER_TYPES,
    TEXT_TYPES,
    ZONED,
    ValueRules,
    quoted,
    text,
)

DAY = "[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
CLOCK = "[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?"
OFFSET = " ?(Z|UTC|GMT|[+-][01][0-9](:?[0-5][0-9])?)"
SCIENTIFIC = "-?[0-9]([.][0-9]+)?[eE][+][0-9]{2}|-?[0-9][.][0-9]+E[0-9]+"
LARGEST = "1.7976931348623157e308"
LARGEST_WHOLE = "1e37"
"""More than any integer that a float holds exactly, and within NUMBER(38, 0)."""


def _characters(pattern: str) -> str:
    """The characters of a class of code points, without the one that no text in Snowflake can hold."""
    found = re.findall(r"\\x\{(\w+)\}(?:-\\x\{(\w+)\})?", pattern)
    spans = ((int(first, 16), int(last or first, 16)) for first, last in found)
    return "".join(chr(code) for first, last in spans for code in range(first, last + 1) if code)


BLANK_CHARACTERS = _characters(BLANKS)


def stripped(value: str) -> str:
    return f"trim({value}, {quoted(BLANK_CHARACTERS)})"


def _one_blank(value: str) -> str:
    """A text with one plain blank wherever it has blanks of any kind."""
    plain = f"translate({value}, {quoted(BLANK_CHARACTERS)}, {quoted(' ' * len(BLANK_CHARACTERS))})"
    return f"regexp_replace({plain}, ' +', ' ')"


def matches(value: str, pattern: str, parameters: str = "c") -> str:
    """Whether a pattern describes the whole text."""
    return f"regexp_like({value}, {quoted(pattern)}, '{parameters}')"


@dataclass(frozen=True)
class SnowflakeRules(ValueRules):
    """`ValueRules` whose fragments are Snowflake's SQL. Types are named as DuckDB's."""

    def clean(self, value: str) -> str:
        bare = stripped(value)
        return f"case when not {self._says_nothing(bare, self.missing_words)} then {bare} end"

    def identity(self, raw: str, kind: str, placeholders: str | None = None) -> str:
        if kind.startswith(INTEGER_TYPES):
            return f"nullif({text(raw)}, '0')" if placeholders else text(raw)
        if kind.startswith(FLOAT_TYPES):
            zero = f"when {raw} = 0 then null " if placeholders else ""
            # a cast that is not reached may be computed all the same
            within = f"case when abs({raw}) < {LARGEST_WHOLE} then {raw} end"
            whole = f"cast(cast({within} as number(38, 0)) as varchar)"
            return (
                f"case {zero}when {self.seconds(raw, kind)} is null then null "
                f"when {raw} = trunc({raw}) and abs({raw}) < {LARGEST_WHOLE} then {whole} else {text(raw)} end"
            )
        bare = stripped(text(raw))
        no_id = f"or {matches(bare, f'({placeholders})([.]0*)?')} " if placeholders else ""
        # TRY_TO_DECIMAL reads texts alone, with or without an exponent
        whole = f"try_to_decimal({bare}, 38, 0)"
        return (
            f"case when {self._says_nothing(bare, self.missing_words)} {no_id}then null "
            f"when {matches(bare, SCIENTIFIC)} and {whole} = try_to_double({bare}) then cast({whole} as varchar) "
            f"when {matches(bare, '-?[0-9]+[.]0+')} then split_part({bare}, '.', 1) else {bare} end"
        )

    def value(self, name: str, raw: str, kind: str) -> str:
        if name in IDS:
            return self.identity(raw, kind, placeholders="[0-]+" if name == "event_id" else None)
        return self.clean(text(raw)) if kind.startswith(TEXT_TYPES) else text(raw)

    def seconds(self, raw: str, kind: str) -> str:
        if kind.startswith(INTEGER_TYPES):
            return f"cast({raw} as double)"
        value = f"try_to_double({stripped(text(raw))})" if kind.startswith(TEXT_TYPES) else raw
        # NaN is larger than any number
        return f"case when {value} between -{LARGEST} and {LARGEST} then cast({value} as double) end"

    def not_a_number(self, raw: str, kind: str) -> str:
        if not kind.startswith(TEXT_TYPES):
            return "false"
        return f"(try_to_double({stripped(text(raw))}) is null and not {self.blank(text(raw))})"

    def blank(self, value: str) -> str:
        return self._says_nothing(stripped(value), (*self.missing_words, "na"))

    def _says_nothing(self, value: str, words: tuple[str, ...]) -> str:
        listed = ", ".join(quoted(word.replace("\\", "\\\\")) for word in ("", *words))
        return f"coalesce(lower({value}) in ({listed}), true)"

    def local_time(self, raw: str, kind: str) -> str:
        if kind.startswith(ZONED):
            return self._plausible(f"cast(convert_timezone({quoted(self.timezone)}, {raw}) as timestamp_ntz)")
        if kind.startswith(DATE_TYPES):
            return self._plausible(f"cast({raw} as timestamp_ntz)")
        value = f"upper({stripped(text(raw))})"
        return f"case when {self.is_believed(value)} then {self.instant(raw, kind)} end"

    def instant(self, raw: str, kind: str) -> str:
        """A date column, however implausible, as a moment on the clock of the zone; null for what is none."""
        if kind.startswith(ZONED):
            return f"cast(convert_timezone({quoted(self.timezone)}, {raw}) as timestamp_ntz)"
        if kind.startswith(DATE_TYPES):
            return f"cast({raw} as timestamp_ntz)"
        value = _one_blank(f"upper({stripped(text(raw))})")
        return (
            f"case when {matches(value, f'{DAY}({CLOCK})?')} then {self._clock(value)} "
            f"when {matches(value, f'{DAY}{CLOCK}{OFFSET}')} then {self._moved(value)} end"
        )

    def _clock(self, value: str) -> str:
        """The wall clock with which a text begins."""
        return f"try_cast(translate({value}, 'T,', ' .') as timestamp_ntz)"

    def _moved(self, value: str) -> str:
        clock = f"regexp_substr({value}, {quoted(f'^{DAY}{CLOCK}')})"
        # without the day, whose dashes look like the sign of an offset
        rest = f"replace(substr({value}, 11), ':', '')"
        signed = f"regexp_substr({rest}, '[+-][0-9]+$')"
        # tried only: what a condition excludes may be computed all the same
        hours = f"try_to_decimal(substr({signed}, 2, 2), 4, 0)"
        minutes = f"coalesce(try_to_decimal(substr({signed}, 4, 2), 4, 0), 0)"
        offset = f"({hours} * 60 + {minutes}) * case when left({signed}, 1) = '-' then 1 else -1 end"
        utc = f"dateadd('minute', coalesce({offset}, 0), {self._clock(clock)})"
        return f"convert_timezone('UTC', {quoted(self.timezone)}, {utc})"

    def _is_implausible(self, raw: str) -> str:
        value = stripped(raw)
        whole = matches(value, "-?infinity|[+-]?[0-9]{5,}-.*|-[0-9]{4}-.*|.*[(]BC[)]|0([.]0)?", "i")
        day = matches(value, "[0-9]{4}-[0-9]{2}-[0-9]{2}.*", "s")
        return f"({whole} or {day} and not {self.is_believed(value)})"
