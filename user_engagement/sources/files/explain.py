"""What is wrong with a file, and where: DuckDB's errors as one line with the file, the line and what to do."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from user_engagement.sources.data_files import pattern
from user_engagement.sources.files.opening import open_bytes, open_text
from user_engagement.sources.files.scan import FileGroup, connect


def line_of(file: Path, group: FileGroup, name: str, value: str) -> str:
    """Where in a text file a value first stands, as ``, line 3``; nothing where it has no line of its own."""
    if group.format == "parquet" or name not in group.columns:
        return ""
    with open_text(file) as lines:
        if group.format == "json":
            header = group.columns[name][0]
            for number, line in enumerate(lines, start=1):
                if line.strip() and _json_text(line, header) == value:
                    return f", line {number}"
            return ""
        reader = csv.reader(lines, delimiter=group.delimiter)
        next(reader)
        position = list(group.columns).index(name)
        try:
            for row in reader:
                if len(row) > position and row[position] == value:
                    return f", line {reader.line_num}"
        except csv.Error:
            return ""
    return ""


def _json_text(line: str, key: str) -> str | None:
    value = json.loads(line).get(key)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def explained(message: str, place: Path) -> str:
    """DuckDB's reading error as one line that names the file, the line and what to do."""
    if json_file := re.search(r'Malformed JSON in file "(.*)", at byte \d+ in line \d+: ([^.]*)', message):
        return _plain_json(Path(json_file.group(1)), json_file.group(2))
    if cut := re.search(r"Unexpected end of GZIP stream: (.*)", message):
        return f"{cut.group(1)}: the compressed file is cut off. Copy or export it again."
    file = re.search(r"^  file = (.*)$", message, re.MULTILINE)
    line = re.search(r"CSV Error on Line: (\d+)", message)
    where = f"{file.group(1).strip() if file else place}" + (f", line {line.group(1)}" if line else "")
    original = re.search(r"Original Line: (.*)", message)
    shown = f": {_shortened(original.group(1))}" if original else ""
    if counts := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message):
        return (
            f"{where}: expected {counts.group(1)} columns, found {counts.group(2)}{shown}. "
            "Quote values that hold a comma, or mend the line."
        )
    if "unterminated quote" in message:
        return (
            f"{where}: a quoted value does not end{shown}. Close the quote, or double a quote inside a value."
        )
    if "not utf-8" in message or "Invalid unicode" in message or "invalid UTF-8" in message:
        return f"{where}: not valid UTF-8 text{shown}. Save the file as UTF-8."
    if "Maximum line size" in message or "does not support a full read" in message:
        return f"{where}: a line is longer than 2 MB. Remove it, or export the file again."
    if "reached an invalid state" in message:
        return f"{where}: line ends or quotes change within the file. Save it with one kind of line end."
    reasons = [text for text in message.strip().splitlines() if "CSV Error on Line" not in text]
    reason = re.sub(r"^[A-Z][\w ]* Error: ", "", reasons[0] if reasons else message).rstrip(". ")
    return f"{where}: cannot be read: {reason}. Mend or replace the file."


def _plain_json(file: Path, problem: str) -> str:
    """The first line of a file that is no JSON, found here because DuckDB's own count is one too high."""
    with open_bytes(file) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                json.loads(line.strip() or "{}")
            except ValueError:
                text = _shortened(line.decode(errors="replace"))
                return (
                    f"{file}, line {number}: {problem}: {text}. Write one whole JSON object a line, as UTF-8."
                )
    return f"{file}: {problem}. Write one whole JSON object a line, as UTF-8 without a byte order mark."


def broken_parquet(group: FileGroup) -> Iterator[Path]:
    """The Parquet files of the group that cannot be read to their end, of which DuckDB tells no name."""
    for file in group.files if group.format == "parquet" else ():
        try:
            with connect() as connection:
                connection.execute(f"select bit_xor(hash(columns(*))) from read_parquet({pattern(file)})")
        except duckdb.Error:
            yield file


def _shortened(text: str) -> str:
    return repr(text.strip()[:80])
