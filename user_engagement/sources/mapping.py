"""Which columns of a source's table hold those of a raw table, by the settings' mapping."""

from __future__ import annotations

from user_engagement.contracts.raw import LINEAGE, RawTable
from user_engagement.errors import SourceError
from user_engagement.settings import TableMapping
from user_engagement.sources import normalise

KEY, POSITION = "_key", "_position"
RESERVED = (*(column.name for column in LINEAGE), KEY, POSITION)
"""Names that rows carry on their way, beside the columns of the source."""


def listed(names: list[str], at_most: int = 40) -> str:
    shown = ", ".join(names[:at_most]) or "nothing"
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"


def columns_are(names: list[str]) -> str:
    """The subject and the verb of a sentence about columns."""
    return f"column {names[0]} is" if len(names) == 1 else f"columns {listed(names)} are"


def choose_columns(
    table: RawTable, mapping: TableMapping, found: list[str], excluded: frozenset[str]
) -> dict[str, str]:
    """Name in the raw table to name in the source, for every column to extract."""
    where = mapping.table
    mapped = {to.lower(): find_column(where, of, found) for to, of in mapping.columns.items()}
    own: dict[str, str] = {}
    for position, source in enumerate(found, start=1):
        plain = normalise.column_name(source, position)
        if source in mapped.values() or plain in mapped or plain in excluded:
            continue
        if plain in own:
            raise SourceError(
                f"{where}: columns {own[plain]!r} and {source!r} are both {plain}; map one to another name."
            )
        own[plain] = source
    chosen = own | mapped
    if missing := [c.name for c in table.required if c.name not in chosen]:
        raise SourceError(
            f"{where}: {columns_are(missing)} missing for {table.name}. Found {listed(found)}; "
            "map each to the column that holds it."
        )
    for name in (reserved for reserved in RESERVED if reserved in chosen):
        raise SourceError(
            f"{where}: column {name} is a name this pipeline uses itself; map it to another name."
        )
    return chosen


def find_column(table: str, name: str, found: list[str]) -> str:
    """The column of this name, or the only one that differs from it in case alone."""
    if name in found:
        return name
    alike = [column for column in found if column.lower() == name.lower()]
    if len(alike) != 1:
        raise SourceError(f"{table}: column {name} is missing. Found {listed(found)}; correct the mapping.")
    return alike[0]
