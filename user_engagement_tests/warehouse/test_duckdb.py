"""Slices through `replace_slice` and through real Dagster runs.

Annotations are evaluated here: Dagster reads those of an asset's inputs and outputs.
"""

import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_engagement.contracts.raw import CHURN_DATA, REJECTED_ROWS, USER_SIGNUPS, RawTable, Window
from user_engagement.errors import SourceError, WarehouseError
from user_engagement.settings import load_settings
from user_engagement.sources.base import Extract
from user_engagement.sources.files import FilesSource
from user_engagement.warehouse import LoadedSlice, open_warehouse
from user_engagement.warehouse.duckdb.loading import replace_slice
from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse
from user_engagement.warehouse.io_manager import RawIOManager

Row = dict[str, Any]
JANUARY = Window(date(2025, 1, 1), date(2025, 2, 1))
FEBRUARY = Window(date(2025, 2, 1), date(2025, 3, 1))


def churned(user: str, day: str, **further: Any) -> Row:
    return {"user_id": user, "churn_date": datetime.fromisoformat(day), **further}


def refused(user: str, table: RawTable = CHURN_DATA) -> Row:
    return {"table_name": table.name, "reason": "null_date", "user_id": user}


def batches(schema: pa.Schema, rows: Sequence[Row], crash: BaseException | None) -> Iterator[pa.RecordBatch]:
    for row in rows:
        yield pa.RecordBatch.from_pylist([row], schema=schema)
    if crash:
        raise crash


def extract(
    rows: Sequence[Row],
    window: Window = JANUARY,
    rejected: Sequence[Row] = (),
    table: RawTable = CHURN_DATA,
    schema: pa.Schema | None = None,
    crash: BaseException | None = None,
    crash_in_rejected: BaseException | None = None,
) -> Extract:
    """Rows in batches of one, after which ``crash``, if given, is raised instead of the end."""
    schema = schema or table.schema(tuple(sorted({k for r in rows for k in r} - set(table.schema().names))))
    refusals = REJECTED_ROWS.schema()
    return Extract(
        table=table,
        window=window,
        rows=pa.RecordBatchReader.from_batches(schema, batches(schema, rows, crash)),
        rejected=pa.RecordBatchReader.from_batches(refusals, batches(refusals, rejected, crash_in_rejected)),
    )


def warehouse_in(file: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(file, memory_limit="1GB")


def load(file: Path, loaded: Extract) -> LoadedSlice:
    return warehouse_in(file).replace_slice(loaded)


def read(file: Path, query: str) -> list[tuple[Any, ...]]:
    with warehouse_in(file).connect() as connection:
        return connection.execute(query).fetchall()


def users(file: Path, table: str = "churn_data") -> list[str]:
    return [user for (user,) in read(file, f"select user_id from raw.{table} order by all")]


def columns(file: Path, table: str = "churn_data") -> dict[str, str]:
    return dict(
        read(file, f"select column_name, data_type from duckdb_columns() where table_name = '{table}'")  # type: ignore[arg-type]
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home/warehouse.duckdb"


@pytest.fixture
def loaded(file: Path) -> Path:
    """A warehouse with two users in January, one in February, and one rejected row."""
    load(
        file,
        extract([churned("1", "2025-01-03"), churned("2", "2025-01-31T23:59:59")], rejected=[refused("9")]),
    )
    load(file, extract([churned("3", "2025-02-01")], FEBRUARY, rejected=[refused("9")]))
    return file


# -- slices ------------------------------------------------------------------------------------------------


def test_a_slice_is_replaced_and_the_other_months_stay(loaded: Path) -> None:
    counts = load(loaded, extract([churned("4", "2025-01-15")]))
    assert counts == LoadedSlice(rows=1, replaced_rows=2, rejected_rows=0, table_rows=2)
    assert users(loaded) == ["3", "4"]


def test_loading_the_same_slice_twice_is_loading_it_once(loaded: Path) -> None:
    again = [churned("1", "2025-01-03"), churned("2", "2025-01-31T23:59:59")]
    counts = load(loaded, extract(again, rejected=[refused("9")]))
    assert counts == LoadedSlice(rows=2, replaced_rows=2, rejected_rows=1, table_rows=3)
    assert users(loaded) == ["1", "2", "3"]
    assert users(loaded, "rejected_rows") == ["9"]


def test_a_slice_that_has_become_empty_is_emptied(loaded: Path) -> None:
    assert load(loaded, extract([])) == LoadedSlice(rows=0, replaced_rows=2, rejected_rows=0, table_rows=1)
    assert users(loaded) == ["3"]


def test_an_empty_first_slice_creates_both_tables_with_all_declared_columns(file: Path) -> None:
    load(file, extract([]))
    assert columns(file) == {
        "user_id": "VARCHAR",
        "churn_date": "TIMESTAMP",
        "churn_reason": "VARCHAR",
        "_source": "VARCHAR",
        "_row_number": "BIGINT",
        "_extracted_at": "TIMESTAMP",
    }
    assert set(REJECTED_ROWS.schema().names) == set(columns(file, "rejected_rows"))


@pytest.mark.parametrize(
    ("window", "left"),
    [
        (Window(), []),
        (Window(None, date(2025, 2, 1)), ["3"]),
        (Window(date(2025, 1, 4), None), ["1"]),
        (Window(date(2025, 1, 31), date(2025, 2, 1)), ["1", "3"]),
        (Window(date(2025, 1, 1), date(2025, 3, 1)), []),
    ],
)
def test_a_slice_reaches_exactly_to_its_edges_or_without_end(
    loaded: Path, window: Window, left: list[str]
) -> None:
    load(loaded, extract([], window))
    assert users(loaded) == left


def test_a_slice_without_edges_holds_what_is_dated_far_outside_the_calendar(file: Path) -> None:
    far = [churned("old", "1000-01-01"), churned("new", "9999-12-31T23:59:59")]
    assert load(file, extract(far, Window())).rows == 2
    assert load(file, extract(far, Window())).replaced_rows == 2
    assert users(file) == ["new", "old"]


MONTHS = [date(2025, month, 1) for month in range(1, 6)]


@pytest.mark.slow
@settings(max_examples=12)
@given(
    loads=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 3), st.lists(st.integers(0, 400), max_size=6)), max_size=6
    )
)
def test_any_order_of_loads_leaves_the_newest_slice_of_each_month(
    tmp_path_factory: pytest.TempPathFactory, loads: list[tuple[int, int, list[int]]]
) -> None:
    held: dict[str, int] = {}
    with warehouse_in(tmp_path_factory.mktemp("any_order") / "w.duckdb").connect() as connection:
        for number, (first, length, days) in enumerate(loads):
            window = Window(MONTHS[first], MONTHS[min(first + length, 4)])
            assert window.start
            assert window.end
            width = (window.end - window.start).days
            start = window.start.toordinal()
            rows = {f"{number}-{n}": start + day % width for n, day in enumerate(days)}
            held = {u: d for u, d in held.items() if not start <= d < window.end.toordinal()} | rows
            replace_slice(
                connection,
                extract([churned(u, date.fromordinal(d).isoformat()) for u, d in rows.items()], window),
            )
        if loads:
            found = connection.execute("select user_id, churn_date from raw.churn_data").fetchall()
            assert {user: day.toordinal() for user, day in found} == held


# -- a crash -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SourceError, KeyboardInterrupt, MemoryError, RuntimeError])
@pytest.mark.parametrize("where", ["crash", "crash_in_rejected"])
def test_a_crash_among_the_batches_keeps_the_old_slice_and_the_old_rejected_rows(
    loaded: Path, kind: type[BaseException], where: str
) -> None:
    new = [churned(f"new {n}", "2025-01-15", plan="pro") for n in range(3)]
    broken = extract(new, rejected=[refused("10")], **{where: kind("churn.csv, line 7")})  # type: ignore[arg-type]
    with pytest.raises(kind, match=r"^churn.csv, line 7$"):
        load(loaded, broken)
    assert users(loaded) == ["1", "2", "3"]
    assert users(loaded, "rejected_rows") == ["9"]
    assert "plan" not in columns(loaded)


def test_a_connection_goes_on_working_after_a_crash(loaded: Path) -> None:
    with warehouse_in(loaded).connect() as connection:
        with pytest.raises(RuntimeError):
            replace_slice(connection, extract([], crash=RuntimeError()))
        assert replace_slice(connection, extract([churned("4", "2025-01-15")])).rows == 1
    assert users(loaded) == ["3", "4"]


def test_a_file_that_breaks_while_it_is_loaded_ends_in_the_sources_own_message(
    tmp_path: Path, loaded: Path
) -> None:
    """DuckDB once turned it into the text of a traceback."""
    source = tmp_path / "churn_data.csv"
    source.write_text("user_id,churn_date\n1,2025-01-31\n")
    broken = FilesSource(tmp_path).extract(CHURN_DATA, JANUARY)
    source.write_text("user_id,churn_date\n1,2025-01-31,2\n")
    with pytest.raises(SourceError, match=r"churn_data.csv: changed while it was being read") as raised:
        load(loaded, broken)
    assert "Traceback" not in str(raised.value)
    assert users(loaded) == ["1", "2", "3"]


def test_parquet_that_breaks_while_the_warehouse_reads_it_ends_in_a_message_that_names_the_file(
    tmp_path: Path, loaded: Path
) -> None:
    source = tmp_path / "churn_data.parquet"
    reasons = [f"reason {n}" for n in range(20_000)]
    dates = [date(2025, 1, 31)] * len(reasons)
    rows = pa.table({"churn_reason": reasons, "user_id": reasons, "churn_date": dates})
    pq.write_table(rows, source, compression="none", use_dictionary=False)
    content = bytearray(source.read_bytes())
    content[4:2_000] = bytes(1_996)  # in the pages of churn_reason, which is not read before
    source.write_bytes(content)
    broken = FilesSource(tmp_path).extract(CHURN_DATA, JANUARY)
    assert broken.scan
    with pytest.raises(SourceError, match=r"churn_data.parquet.*Mend or replace the file"):
        load(loaded, broken)
    assert users(loaded) == ["1", "2", "3"]


def test_an_error_of_the_warehouse_is_not_blamed_on_the_file(tmp_path: Path, loaded: Path) -> None:
    rows = pa.table({"user_id": ["1"], "churn_date": [date(2025, 1, 31)]})
    pq.write_table(rows, tmp_path / "churn_data.parquet")
    extract = FilesSource(tmp_path).extract(CHURN_DATA, JANUARY)
    with warehouse_in(loaded).connect() as connection:
        connection.execute("create view raw.other as select 1")
        connection.execute("drop table raw.churn_data cascade")
        connection.execute("create view raw.churn_data as select 1 as one")
        with pytest.raises((duckdb.Error, WarehouseError)):
            replace_slice(connection, extract)


KILLED_LOADER = """
    import sys, time
    from datetime import date, datetime
    from pathlib import Path
    import pyarrow as pa
    from user_engagement.contracts.raw import CHURN_DATA, REJECTED_ROWS, Window
    from user_engagement.sources.base import Extract
    from user_engagement.warehouse.duckdb.warehouse import DuckDBWarehouse

    def batches(schema):
        for number in range(40):
            users = [f"new {number} {n}" for n in range(50_000)]
            rows = {"user_id": users, "churn_date": [datetime(2025, 1, 15)] * len(users)}
            table = pa.table({name: rows.get(name, pa.nulls(len(users))) for name in schema.names})
            yield from table.cast(schema).to_batches()
        print("in the middle", flush=True)
        time.sleep(60)

    schema = CHURN_DATA.schema()
    rows = pa.RecordBatchReader.from_batches(schema, batches(schema))
    rejected = pa.RecordBatchReader.from_batches(REJECTED_ROWS.schema(), [])
    window = Window(date(2025, 1, 1), date(2025, 2, 1))
    warehouse = DuckDBWarehouse(Path(sys.argv[1]), memory_limit="100MB")
    warehouse.replace_slice(Extract(CHURN_DATA, window, rows, rejected))
"""


@pytest.mark.slow
def test_a_process_killed_in_the_middle_of_a_load_leaves_the_old_slice_whole(loaded: Path) -> None:
    with python(KILLED_LOADER, loaded) as loader:
        assert loader.stdout
        assert loader.stdout.readline() == "in the middle\n"
        loader.send_signal(signal.SIGKILL)
        loader.wait()
    assert users(loaded) == ["1", "2", "3"]
    assert users(loaded, "rejected_rows") == ["9"]
    assert load(loaded, extract([churned("4", "2025-01-15")])).replaced_rows == 2


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


# -- columns -----------------------------------------------------------------------------------------------


def test_columns_are_stored_by_name_whatever_their_order(loaded: Path) -> None:
    """The stock IO manager inserts by position: two text columns would change places silently."""
    schema = pa.schema(list(reversed(list(CHURN_DATA.schema(("a_plan",))))))
    row = churned("4", "2025-01-15", a_plan="pro", churn_reason="price", _source="a.csv", _row_number=1)
    load(loaded, extract([row], schema=schema))
    stored = read(
        loaded,
        "select user_id, churn_date, a_plan, churn_reason, _source from raw.churn_data where user_id = '4'",
    )
    assert stored == [("4", datetime(2025, 1, 15), "pro", "price", "a.csv")]


def test_a_further_column_is_added_and_null_in_older_rows_and_later_ones_without_it(loaded: Path) -> None:
    load(loaded, extract([churned("4", "2025-01-15", plan="pro", order="1")]))
    load(loaded, extract([churned("5", "2025-03-01")], Window(date(2025, 3, 1), None)))
    stored = read(loaded, 'select user_id, plan, "order" from raw.churn_data order by user_id')
    assert stored == [("3", None, None), ("4", "pro", "1"), ("5", None, None)]
    assert columns(loaded)["plan"] == "VARCHAR"


def test_a_column_of_another_type_is_refused_before_anything_is_written(loaded: Path) -> None:
    with warehouse_in(loaded).connect() as connection:
        connection.execute("alter table raw.churn_data alter churn_reason type integer")
    row = churned("4", "2025-01-15", a_new_column="x", churn_reason="price")
    with pytest.raises(WarehouseError) as raised:
        load(loaded, extract([row], rejected=[refused("10")]))
    assert str(raised.value) == (
        "raw.churn_data: column churn_reason is INTEGER in the warehouse but must be VARCHAR. "
        "Drop the table and load all months again."
    )
    assert users(loaded) == ["1", "2", "3"]
    assert users(loaded, "rejected_rows") == ["9"]
    assert "a_new_column" not in columns(loaded)


@pytest.mark.parametrize("day", ["2024-12-31T23:59:59.999999", "2025-02-01T00:00:00"])
def test_a_row_outside_the_slice_is_refused_and_nothing_changes(loaded: Path, day: str) -> None:
    rows = [churned("4", "2025-01-15"), churned("5", day)]
    with pytest.raises(WarehouseError, match=r"raw.churn_data: 1 of 2 rows are not dated within the slice"):
        load(loaded, extract(rows))
    assert users(loaded) == ["1", "2", "3"]


@pytest.mark.parametrize("window", [JANUARY, Window()], ids=["a month", "without edges"])
def test_a_row_without_a_date_is_refused_also_in_a_slice_without_edges(loaded: Path, window: Window) -> None:
    with pytest.raises(WarehouseError, match="nothing was loaded"):
        load(loaded, extract([{"user_id": "4", "churn_date": None}], window))
    assert users(loaded) == ["1", "2", "3"]


def test_rejected_rows_are_replaced_for_their_own_table_only(loaded: Path) -> None:
    signup = {"user_id": "1", "signup_date": datetime(2025, 1, 3), "product_type": "free"}
    of_signups = [refused(user, USER_SIGNUPS) for user in ("7", "8")]
    load(loaded, extract([signup], table=USER_SIGNUPS, rejected=of_signups))
    assert users(loaded, "rejected_rows") == ["7", "8", "9"]
    load(loaded, extract([], rejected=[]))
    assert users(loaded, "rejected_rows") == ["7", "8"]


def test_many_batches_arrive_whole(tmp_path: Path, file: Path) -> None:
    lines = "".join(f"{n},2025-01-31\n" for n in range(300_000))
    (tmp_path / "churn_data.csv").write_text("user_id,churn_date\n" + lines)
    counts = load(file, FilesSource(tmp_path).extract(CHURN_DATA, JANUARY))
    assert counts.rows == 300_000
    assert read(file, "select count(distinct user_id), max(_row_number) from raw.churn_data") == [
        (300_000, 300_000)
    ]


# -- opening -----------------------------------------------------------------------------------------------

HOLDER = """
    import sys, duckdb
    connection = duckdb.connect(sys.argv[1])
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(loaded: Path) -> Iterator[Path]:
    """A warehouse that another process has open."""
    code = [sys.executable, "-c", textwrap.dedent(HOLDER), str(loaded)]
    with subprocess.Popen(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        yield loaded
        holder.kill()


def test_a_file_held_by_another_process_gives_one_clear_error(held: Path) -> None:
    with pytest.raises(WarehouseError) as raised, warehouse_in(held).connect():
        pass
    message = str(raised.value)
    assert re.fullmatch(
        rf"{held}: python[\d.]*, process \d+, holds this file. Wait for that run to end, or stop it.", message
    )


def test_a_file_is_free_again_after_an_error(loaded: Path) -> None:
    with pytest.raises(RuntimeError), warehouse_in(loaded).connect():
        raise RuntimeError
    reader = (
        "import sys, duckdb; "
        "print(duckdb.connect(sys.argv[1]).sql('select min(user_id) from raw.churn_data').fetchall()[0][0])"
    )
    with python(reader, loaded) as process:
        assert process.communicate()[0] == "1\n"


def a_text(path: Path) -> Path:
    path.write_text("hello " * 1000)
    return path


def a_folder(path: Path) -> Path:
    path.mkdir()
    return path


def below_a_file(path: Path) -> Path:
    return a_text(path) / "sub/w.duckdb"


@pytest.mark.parametrize("make", [a_text, a_folder, below_a_file])
def test_what_is_no_warehouse_is_said_to_be_none_rather_than_busy(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    database = make(tmp_path / "w.duckdb")
    with pytest.raises(WarehouseError) as raised, warehouse_in(database).connect():
        pass
    message = str(raised.value)
    assert message.startswith(f"{database}: cannot be opened as a warehouse. Move it away, or choose another")
    assert "another process" not in message


# -- through Dagster ---------------------------------------------------------------------------------------

CALENDAR = dg.MonthlyPartitionsDefinition("2025-01-01", end_date="2025-04-01")


def run(
    database: Path, output: Callable[[], Any], partition: str | None = "2025-01-01", *more: Any
) -> dg.ExecuteInProcessResult:
    @dg.asset(
        key=["raw", "churn_data"],
        partitions_def=CALENDAR if partition else None,
        metadata={"partition_expr": "churn_date"},
        io_manager_key="io_manager",
    )
    def churn_data() -> Any:
        return output()

    manager = RawIOManager(warehouse=warehouse_in(database))
    result = dg.materialize(
        [churn_data, *more], partition_key=partition, resources={"io_manager": manager}, raise_on_error=False
    )
    assert isinstance(result, dg.ExecuteInProcessResult)
    return result


def failure_of(result: dg.ExecuteInProcessResult) -> Any:
    """What the failed step raised, below the wrapping of Dagster's own."""
    error = next(event for event in result.all_events if event.is_step_failure).step_failure_data.error
    while error and error.cause:
        error = error.cause
    return error


def test_an_asset_that_returns_an_extract_replaces_its_slice(loaded: Path) -> None:
    result = run(
        loaded, lambda: extract([churned("4", "2025-01-15")], rejected=[refused("10"), refused("11")])
    )
    assert result.success
    assert users(loaded) == ["3", "4"]
    metadata = result.asset_materializations_for_node("raw__churn_data")[0].metadata
    assert {name: metadata[name].value for name in ("replaced_rows", "rejected_rows")} == {
        "replaced_rows": 2,
        "rejected_rows": 2,
    }
    assert metadata["dagster/partition_row_count"].value == 1
    assert metadata["dagster/row_count"].value == 2


def test_an_asset_replaces_an_empty_slice_and_creates_the_tables_of_a_new_warehouse(file: Path) -> None:
    assert run(file, lambda: extract([])).success
    assert users(file) == users(file, "rejected_rows") == []


def test_a_failing_load_fails_the_run_and_keeps_the_old_slice(loaded: Path) -> None:
    result = run(
        loaded, lambda: extract([churned("4", "2025-01-15")], crash=SourceError("churn.csv: broken"))
    )
    assert not result.success
    assert failure_of(result).message.strip().endswith("SourceError: churn.csv: broken")
    assert users(loaded) == ["1", "2", "3"]


def test_a_run_whose_warehouse_is_held_fails_with_that_reason(held: Path) -> None:
    result = run(held, lambda: extract([]))
    assert not result.success
    assert "holds this file" in failure_of(result).message


def test_a_downstream_asset_reads_its_partition_as_a_frame(loaded: Path) -> None:
    seen: list[pd.DataFrame] = []

    @dg.asset(
        ins={"churn_data": dg.AssetIn(key=["raw", "churn_data"])},
        io_manager_key="nothing",
        partitions_def=CALENDAR,
    )
    def frame(churn_data: pd.DataFrame) -> None:
        seen.append(churn_data)

    upstream = dg.AssetSpec(
        ["raw", "churn_data"], partitions_def=CALENDAR, metadata={"partition_expr": "churn_date"}
    ).with_io_manager_key("io_manager")
    manager = RawIOManager(warehouse=warehouse_in(loaded))
    assert dg.materialize(
        [upstream, frame],
        selection=[frame],
        partition_key="2025-01-01",
        resources={"io_manager": manager, "nothing": dg.mem_io_manager},
    ).success
    assert sorted(seen[0]["user_id"]) == ["1", "2"]


def test_an_asset_that_returns_a_frame_is_refused_rather_than_appended(loaded: Path) -> None:
    result = run(loaded, lambda: pd.DataFrame({"user_id": ["4"]}), None)
    assert not result.success
    assert "return an Extract, not a DataFrame" in failure_of(result).message
    assert users(loaded) == ["1", "2", "3"]


def test_the_warehouse_of_the_settings_is_in_their_home_with_their_memory_limit(tmp_path: Path) -> None:
    warehouse = open_warehouse(load_settings(home=tmp_path / "home", memory_limit="200MB"))
    assert isinstance(warehouse, DuckDBWarehouse)
    assert not warehouse.exists()
    with warehouse.connect() as connection:
        limit, order, file = connection.execute(
            "select current_setting('memory_limit'), current_setting('preserve_insertion_order'), path "
            "from duckdb_databases() where database_name = 'warehouse'"
        ).fetchall()[0]
    assert (limit, order, file) == ("190.7 MiB", False, str(tmp_path / "home/warehouse.duckdb"))
