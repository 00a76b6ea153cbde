"""What a machine lacks, as one sentence: room on a disk, or the right to write.

Each library wraps such an error in its own way, so the whole chain of causes is searched.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from user_engagement.errors import RunFailedError, SettingsError
from user_engagement.settings import PREFIX, Settings

FULL = re.compile(r"no space left on device|disk is full|disk quota|disk i/o error", re.IGNORECASE)
NOT_WRITABLE = re.compile(
    r"read-only file system|readonly database|permission denied|no usable temporary", re.IGNORECASE
)
NEARLY_FULL_BYTES = 4 << 20


def machine_problem(error: BaseException, settings: Settings) -> str | None:
    """What the machine lacks, if that is what an error is about, and what to do."""
    said = " ".join(str(each) for each in _chain(error))
    places = [settings.home, Path(_temporary())]
    # a source may say that a permission is denied, too: of a failed step nothing but a full disk is explained
    if NOT_WRITABLE.search(said) and not isinstance(error, RunFailedError):
        return (
            f"{_reason(said, NOT_WRITABLE)}: {places[0]} and {places[1]} must be writable. Change their rights, or set "
            f"{PREFIX}HOME and TMPDIR."
        )
    if FULL.search(said):
        where = (
            " and ".join(str(place) for place in places if _is_full(place)) or f"{places[0]} or {places[1]}"
        )
        return (
            f"{_reason(said, FULL)}: there is no room left in {where}. Free some space, then run again. What is "
            "published has not changed."
        )
    return None


def refuse_unwritable(settings: Settings) -> None:
    """Raises OSError if nothing can be written to the home, or to the folder of temporary files.

    Raises:
        SettingsError: the home cannot be a folder.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise SettingsError(
            f"{PREFIX}HOME={settings.home}: cannot be made a folder ({error.strerror}). Name another one."
        ) from None
    for folder in (str(settings.home), tempfile.gettempdir()):
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(NEARLY_FULL_BYTES))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def _reason(said: str, symptom: re.Pattern[str]) -> str:
    found = symptom.search(said)
    return found[0][0].upper() + found[0][1:] if found else ""


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return "TMPDIR"


def _is_full(place: Path) -> bool:
    try:
        return shutil.disk_usage(place).free < NEARLY_FULL_BYTES
    except OSError:
        return False
