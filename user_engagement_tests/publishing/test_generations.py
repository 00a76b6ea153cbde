from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from user_engagement.errors import SettingsError, UserError
from user_engagement.publishing.generations import (
    KEPT_GENERATIONS,
    SCHEMA_VERSION,
    Manifest,
    generations,
    pseudonymised,
    publish,
    read_manifest,
    resolve,
)
from user_engagement.settings import load_settings

TABLES = ("churn_monthly", "kpi_summary", "survival")


def marts(tag: str, rows: int = 3) -> Iterator[tuple[str, pa.RecordBatchReader]]:
    for name in TABLES:
        yield name, pa.table({"tag": [tag] * rows, "mart": [name] * rows}).to_reader(max_chunksize=2)


def publish_tag(published: Path, tag: str) -> Manifest:
    return publish(published, marts(tag), run_id=tag, as_of="2025-01-31")


def tags_of(generation: Path) -> set[str]:
    """The tags that a generation carries, in its manifest and in every table: one, if it is whole."""
    manifest = read_manifest(generation)
    tags = {manifest.run_id}
    for name, table in manifest.tables.items():
        content = (generation / f"{name}.parquet").read_bytes()
        assert hashlib.sha256(content).hexdigest() == table["sha256"]
        tags.update(pq.read_table(pa.BufferReader(content))["tag"].to_pylist())
    return tags


def make_older(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def numbers(published: Path) -> list[int]:
    return [number for number, _ in generations(published)]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return tmp_path / "state/published"


def test_nothing_published_yet_is_said_with_what_to_run(published: Path) -> None:
    with pytest.raises(UserError, match=r"nothing has been published yet\. Run: user-engagement run"):
        resolve(published)


def test_a_generation_holds_every_mart_and_says_what_is_in_it(published: Path) -> None:
    manifest = publish(published, marts("a", rows=5), run_id="run 1", as_of="2025-01-31")
    generation = resolve(published)
    assert generation == published / "gen-1"
    assert read_manifest(generation) == manifest
    assert (manifest.generation, manifest.schema_version) == (1, SCHEMA_VERSION)
    assert (manifest.run_id, manifest.as_of) == ("run 1", "2025-01-31")
    assert set(manifest.tables) == set(TABLES)
    assert {p.name for p in generation.iterdir()} == {
        "manifest.json",
        *(f"{name}.parquet" for name in TABLES),
    }
    for name, table in manifest.tables.items():
        file = generation / f"{name}.parquet"
        assert table == {"rows": 5, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        assert pq.read_table(file)["mart"].to_pylist() == [name] * 5


def test_a_mart_without_rows_keeps_its_columns(published: Path) -> None:
    schema = pa.schema([("user_id", pa.string()), ("day", pa.date32())])
    publish(published, [("empty", pa.table([[], []], schema=schema).to_reader())], "run", "2025-01-31")
    assert read_manifest(resolve(published)).tables["empty"]["rows"] == 0
    assert pq.read_schema(resolve(published) / "empty.parquet").equals(schema)


def test_each_publication_is_a_generation_of_its_own(published: Path) -> None:
    for expected, tag in enumerate("abc", start=1):
        assert publish_tag(published, tag).generation == expected
        assert tags_of(resolve(published)) == {tag}
    assert numbers(published) == [1, 2, 3]


def test_generations_are_numbered_and_not_ordered_as_text(published: Path) -> None:
    for number in (9, 10):
        (published / f"gen-{number}").mkdir(parents=True)
    assert publish_tag(published, "a").generation == 11


def test_what_a_reader_has_resolved_stays_whole_while_others_are_published(published: Path) -> None:
    publish_tag(published, "a")
    mine = resolve(published)
    for tag in "bcdef":
        publish_tag(published, tag)
    assert tags_of(mine) == {"a"}
    assert tags_of(resolve(published)) == {"f"}


def test_the_pointer_is_relative_so_that_the_folder_can_be_moved(published: Path) -> None:
    publish_tag(published, "a")
    moved = published.rename(published.with_name("moved"))
    assert tags_of(resolve(moved)) == {"a"}


# -- users -------------------------------------------------------------------------------------------------

KEY, OTHER_KEY = "k" * 32, "l" * 32


def test_a_copy_that_holds_what_the_pointer_points_to_is_published_into_as_well(
    published: Path, tmp_path: Path
) -> None:
    publish_tag(published, "a")
    copied = shutil.copytree(published, tmp_path / "copied", symlinks=False)
    assert not (copied / "current").is_symlink()
    publish_tag(copied, "b")
    assert tags_of(resolve(copied)) == {"b"}
    assert numbers(copied) == [1, 2]


def users(*ids: str) -> pa.Table:
    return pa.table({"user_id": list(ids), "active_days": list(range(len(ids)))})


def test_users_are_published_under_keyed_pseudonyms_and_not_in_the_order_of_their_ids() -> None:
    ids = [f"user-{number:03d}" for number in range(200)]
    hidden = pseudonymised(users(*ids), KEY).read_all()
    pseudonyms = hidden["user_id"].to_pylist()
    assert len(set(pseudonyms)) == len(ids)
    assert not set(pseudonyms) & set(ids)
    assert pseudonyms == sorted(pseudonyms)
    assert hidden["active_days"].to_pylist() != list(range(len(ids)))
    assert sorted(hidden["active_days"].to_pylist()) == list(range(len(ids))), "rows stay whole"
    unkeyed = {hashlib.sha256(user.encode()).hexdigest()[:32] for user in ids}
    assert not set(pseudonyms) & unkeyed, "who knows an id cannot compute its pseudonym"


def test_a_user_keeps_the_pseudonym_and_another_key_gives_another() -> None:
    def names(key: str, *ids: str) -> dict[int, str]:
        table = pseudonymised(users(*ids), key).read_all()
        return dict(zip(table["active_days"].to_pylist(), table["user_id"].to_pylist(), strict=True))

    assert names(KEY, "ann", "bob")[1] == names(KEY, "eve", "bob", "zoe")[1]
    assert names(KEY, "ann", "bob")[1] != names(OTHER_KEY, "ann", "bob")[1]


@pytest.mark.parametrize("key", [None, "short"])
def test_users_are_not_published_without_a_key(key: str | None) -> None:
    with pytest.raises(SettingsError, match="PSEUDONYM_KEY") as refused:
        load_settings(publish_users=True, pseudonym_key=key)
    assert "short" not in str(refused.value).replace("shorter", "")


# -- what is made of the tables ----------------------------------------------------------------------------


def test_what_is_added_is_made_of_the_finished_tables_and_published_with_them(published: Path) -> None:
    def add(folder: Path) -> None:
        (folder / "report.html").write_text(",".join(sorted(tags_of(folder))))

    publish(published, marts("a"), run_id="a", as_of="2025-01-31", add=add)
    assert (resolve(published) / "report.html").read_text() == "a"


def test_a_failure_of_what_is_added_keeps_what_was_published(published: Path) -> None:
    publish_tag(published, "a")

    def add(_folder: Path) -> None:
        raise RuntimeError("no report")

    with pytest.raises(RuntimeError):
        publish(published, marts("b"), "b", "2025-01-31", add)
    assert tags_of(resolve(published)) == {"a"}


# -- pruning -----------------------------------------------------------------------------------------------


def test_three_generations_are_kept_and_older_ones_go(published: Path) -> None:
    for tag in "abcde":
        publish_tag(published, tag)
        make_older(resolve(published), hours=2)
    assert KEPT_GENERATIONS == 3
    assert numbers(published) == [3, 4, 5]
    assert tags_of(resolve(published)) == {"e"}


def test_generations_of_the_last_hour_are_kept_however_many(published: Path) -> None:
    for tag in "abcdefgh":
        publish_tag(published, tag)
    assert numbers(published) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_other_files_in_the_folder_are_left_alone(published: Path) -> None:
    (published / "gen-notes").mkdir(parents=True)
    (published / "gen-0.bak").write_text("mine")
    for tag in "abcde":
        publish_tag(published, tag)
        make_older(resolve(published), hours=2)
    assert (published / "gen-notes").is_dir()
    assert (published / "gen-0.bak").read_text() == "mine"


def test_a_generation_that_was_current_until_a_moment_ago_is_kept_for_its_readers(published: Path) -> None:
    publish_tag(published, "a")
    make_older(resolve(published), hours=12)
    mine = resolve(published)
    for tag in "bcd":
        publish_tag(published, tag)
    assert tags_of(mine) == {"a"}


# -- crashes -----------------------------------------------------------------------------------------------


def test_a_failure_while_writing_keeps_what_was_published(published: Path) -> None:
    publish_tag(published, "a")

    def broken() -> Iterator[tuple[str, pa.RecordBatchReader]]:
        yield next(marts("b"))
        raise RuntimeError("the warehouse went away")

    with pytest.raises(RuntimeError):
        publish(published, broken(), "b", "2025-01-31")
    assert (published / "gen-2.tmp").is_dir()
    assert tags_of(resolve(published)) == {"a"}
    assert numbers(published) == [1]
    assert publish_tag(published, "c").generation == 2
    assert tags_of(resolve(published)) == {"c"}
    assert not (published / "gen-2.tmp").exists()


def test_leftovers_of_a_crash_are_harmless(published: Path) -> None:
    publish_tag(published, "a")
    draft = published / "gen-2.tmp"
    (draft / "deep").mkdir(parents=True)
    (draft / "obsolete.parquet").write_bytes(b"half")
    (published / "current.tmp").symlink_to("gen-2.tmp")
    assert tags_of(resolve(published)) == {"a"}
    publish_tag(published, "b")
    assert tags_of(resolve(published)) == {"b"}
    assert not (resolve(published) / "obsolete.parquet").exists()


def test_a_crash_before_the_pointer_moved_keeps_the_old_generation_and_its_number_is_not_reused(
    published: Path,
) -> None:
    publish_tag(published, "a")
    (published / "gen-2").mkdir()
    assert resolve(published).name == "gen-1"
    assert publish_tag(published, "b").generation == 3
    assert resolve(published).name == "gen-3"


# -- readers and writers at once ---------------------------------------------------------------------------


def race(published: Path, writers: int, readers: int, seconds: float) -> tuple[int, int]:
    """Publishes and reads at once; returns the numbers of publications and of whole reads."""
    publish_tag(published, "0")
    end = time.monotonic() + seconds
    done: list[str] = []
    whole: list[str] = []
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        for number in count():
            if time.monotonic() > end:
                return
            tag = f"{writer}-{number}"
            assert publish_tag(published, tag).run_id == tag
            done.append(tag)

    def read() -> None:
        while time.monotonic() < end:
            generation = resolve(published)
            tags = tags_of(generation)
            assert len(tags) == 1
            assert tags_of(generation) == tags
            whole.extend(tags)

    def watched(action: Callable[..., None], *arguments: int) -> None:
        try:
            action(*arguments)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=watched, args=(write, n)) for n in range(writers)]
    threads += [threading.Thread(target=watched, args=(read,)) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    return len(done), len(whole)


@pytest.mark.slow
def test_four_readers_never_see_a_torn_generation_while_a_writer_publishes(published: Path) -> None:
    publications, reads = race(published, writers=1, readers=4, seconds=2)
    assert publications > 1
    assert reads > publications


@pytest.mark.slow
def test_two_writers_at_once_each_publish_a_whole_generation(published: Path) -> None:
    publications, _ = race(published, writers=2, readers=4, seconds=2)
    assert numbers(published) == list(range(1, publications + 2))
