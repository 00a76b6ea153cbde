"""How the source looks, month by month: what a load records, and what tells whether a month has changed since."""

from collections.abc import Sequence

from user_engagement.contracts.raw import RawTable
from user_engagement.settings import Settings
from user_engagement.sources import Source

FINGERPRINT = "source_fingerprint"
"""The metadata entry of a raw table's partition that records the source's fingerprint when it was loaded."""

SOURCE_TAG = "user_engagement/source"
"""The tag of a run that a sensor asked for: a mark for how the source looked then."""


def source_fingerprints(
    source: Source, table: RawTable, settings: Settings, keys: Sequence[str]
) -> dict[str, str]:
    """The source's fingerprint of each month; rows outside the calendar count with its first or last month.

    It covers the settings that decide how the source is read, so that a change of them looks like changed data. A
    month without rows has no blank in its fingerprint.
    """
    reading = f"{settings.timezone}/{settings.max_session_seconds:g}"
    marks: dict[str, list[str]] = {key: [reading] for key in keys}
    for month, fingerprint in sorted(source.fingerprint(table).items()):
        marks[min(max(month, keys[0]), keys[-1])].append(fingerprint)
    return {key: " ".join(found) for key, found in marks.items()}
