"""The commands of ``user-engagement``; each calls a function of the package.

Exit codes: 0 done, 1 the run failed, 2 wrong usage, configuration or input, 3 done without the months that wait for a
file which cannot be read.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import UTC, date, datetime
from enum import StrEnum
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from user_engagement.errors import RunFailedError, SettingsError, UserError
from user_engagement.interpreter import long_lived
from user_engagement.settings import PREFIX, Settings, get_settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
progress_console = Console(stderr=True)
console = Console()


class ExportFormat(StrEnum):
    parquet = "parquet"
    csv = "csv"


class EventFormat(StrEnum):
    parquet = "parquet"
    snowplow = "snowplow"


def configure(**options: object) -> Settings:
    """Writes the given options to the environment, where Dagster's processes read them, and validates all settings."""
    for name, value in options.items():
        if value is not None:
            os.environ[PREFIX + name.upper()] = str(value)
    get_settings.cache_clear()
    settings = get_settings()
    os.environ[PREFIX + "HOME"] = str(settings.home.absolute())
    return settings


def _show_version(is_requested: bool) -> None:
    if is_requested:
        console.print(version("user-engagement"), highlight=False)
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Measure churn, retention and engagement from raw sources, and explain why engagement falls."""


@app.command()
def run(
    source: Annotated[
        str | None,
        typer.Option(
            help="Kind of source: simulated, files, database, snowplow or warehouse; by the path if not given."
        ),
    ] = None,
    path: Annotated[
        str | None, typer.Option(help="Folder of the source's files, or URL of its database.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First month to load, YYYY-MM.")] = None,
    end: Annotated[str | None, typer.Option(help="Last month to load, YYYY-MM.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Last complete day of data, YYYY-MM-DD.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Load all months again, changed or not.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Rebuild the marts even if nothing has changed.")
    ] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Load although the source has lost most of a table.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Empty the home first: for another source than it was loaded from."),
    ] = False,
    advance: Annotated[
        bool, typer.Option("--advance", help="Advance the simulated company to yesterday first.")
    ] = False,
) -> None:
    """Load what is new in the source, rebuild the marts, publish, and show the KPIs."""
    if path and source is None and os.environ.get(PREFIX + "SOURCE", "simulated") == "simulated":
        source = "database" if "://" in path else "files"
    settings = configure(
        source=source, source_path=path, start=start, end=end, as_of=as_of, accept_loss=accept_loss or None
    )
    if advance and settings.source != "simulated":
        raise SettingsError(f"--advance is for the simulated company; the source is {settings.source}.")
    if full and (settings.start or settings.end):
        raise SettingsError("--full loads all months, --start and --end some of them: give one of both.")
    from user_engagement.cli.machine import refuse_unwritable
    from user_engagement.inputs.parsed_project import parse_ahead

    # before the imports and the source, which take seconds
    refuse_unwritable(settings)
    parse_ahead(settings)
    from user_engagement.warehouse import open_warehouse

    if settings.warehouse == "duckdb" and open_warehouse(settings).exists():
        with open_warehouse(settings).reader():
            pass
    if replace:
        from user_engagement.instance.source_of_home import replace_source

        replace_source(settings)
    from user_engagement.cli.console import RunProgress, loading_summary
    from user_engagement.inputs.publication import is_current
    from user_engagement.publishing.generations import EVERY_FILE_READ, read_manifest, resolve

    planned = None
    # not the stream of the moment: what Dagster writes to that one while it runs is not shown
    with RunProgress(Console(file=sys.stderr)) as progress:
        if settings.source == "simulated":
            # the simulator is imported for those who use it
            from user_engagement.cli.simulated_company import ensure_world
            from user_engagement.cli.simulated_company import simulate as simulate_company

            if advance:
                simulate_company(settings, users=None, through=settings.as_of, on_progress=progress.on_day)
            else:
                ensure_world(settings, progress.on_day)
        progress.show_step("checking the source")
        is_forced = full or rebuild or settings.start or settings.end
        if is_forced or not is_current(settings, datetime.now(UTC)):
            with long_lived():
                from user_engagement import pipeline

            planned = pipeline.plan(settings, full, rebuild)
            progress.show_plan(planned)
            pipeline.run(settings, planned, progress.on_event, progress.on_line)
    console.print(loading_summary(planned, progress))
    generation = resolve(settings.published_dir)
    _show(generation)
    default = Settings.model_fields["home"].default.absolute()
    at = "" if settings.home.absolute() == default else f"{PREFIX}HOME={settings.home} "
    doubts = read_manifest(generation).doubts
    for doubt in doubts:
        console.print(f"[yellow]warning:[/] {escape(doubt.text)}", highlight=False)
    console.print(
        f"\nNext: [bold]{at}user-engagement dashboard[/] for charts, [bold]{at}user-engagement dev[/] for the asset "
        f"graph, [bold]{at}user-engagement export DIR[/] for the marts as files."
    )
    if any(doubt.check == EVERY_FILE_READ for doubt in doubts):
        raise typer.Exit(3)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to write into; created if missing.")],
    format: Annotated[ExportFormat, typer.Option(help="File format.")] = ExportFormat.parquet,  # noqa: A002
) -> None:
    """Write each mart, and each insight table that names no user, to a file of its own, named after the table."""
    settings = configure()
    from user_engagement.publishing.export import export_marts, export_tables
    from user_engagement.publishing.generations import read_manifest, resolve

    exports = [export_marts(settings, folder, format.value)]
    with suppress(UserError):  # nothing is published yet, but built
        own = read_manifest(resolve(settings.published_dir)).own
        exports.append(export_tables(settings, folder, format.value, "marts", own))
    if settings.insights:
        from user_engagement.insights.tables import OF_USERS, TABLES

        named = [name for name in TABLES if name not in OF_USERS]
        exports.append(export_tables(settings, folder, format.value, "insights", named))
    for name, rows in chain.from_iterable(exports):
        console.print(f"{folder / name}.{format.value}  [dim]{rows:,} rows[/]")


@app.command()
def forget(
    users: Annotated[list[str], typer.Argument(help="Ids of the users, as they are in the source.")],
) -> None:
    """Remove users from everything in the home, rebuild the marts without them, and keep them out of later loads."""
    settings = configure()
    from user_engagement.forgetting import forget as forget_users

    proof = forget_users(settings, users)
    if not proof.removed:
        console.print(
            f"[yellow]warning:[/] no row names {escape(', '.join(users))}. Is each id written as in the source?",
            highlight=False,
        )
    for table, rows in proof.removed.items():
        console.print(f"removed from {table}: {rows:,} rows", highlight=False)
    console.print(f"months rebuilt: {', '.join(proof.months) or 'none'}", highlight=False)
    if proof.left:
        raise UserError(
            f"Still named in: {', '.join(proof.left)}. Stop what uses the home, and run this again."
        )
    console.print(
        f"Looked through {proof.searched_tables} tables of users and {proof.searched_files} files: none names them. "
        "Later loads leave them out. Delete them in the source, too."
    )
    if settings.warehouse == "snowflake":
        console.print(
            "Snowflake keeps deleted rows for Time Travel: a day, unless the database says otherwise."
        )


@app.command()
def why(
    segment: Annotated[
        list[str] | None,
        typer.Option(help="Explain one group alone, as country=US; given twice, users that meet both."),
    ] = None,
) -> None:
    """Show why engagement changed, and how much each finding takes."""
    settings = configure()
    from user_engagement.cli.explanation import bridge_table, brief_table, conditions_of, explanation

    tables = explanation(settings, conditions_of(segment or []))
    console.print(brief_table(tables["decline_brief"]))
    console.print(bridge_table(tables["engagement_bridge"]))


@app.command()
def kpis() -> None:
    """Show the KPIs of the last published generation, and why they changed."""
    settings = configure()
    from user_engagement.publishing.generations import resolve

    _show(resolve(settings.published_dir))


@app.command()
def digest(
    address: Annotated[
        str | None, typer.Option(help="Address of the dashboard, for the links (default: a setting).")
    ] = None,
) -> None:
    """Write the Overview as a message in Markdown: headline, figures, causes, and links."""
    settings = configure()
    from user_engagement import formatting
    from user_engagement.dashboard.data import UnavailableError, open_generation
    from user_engagement.dashboard.digest import digest as message

    formatting.use_labels(settings.labels)
    try:
        print(message(open_generation(settings.published_dir), address or settings.dashboard_address))
    except UnavailableError as problem:
        raise UserError(str(problem)) from None


def _show(generation: Path) -> None:
    from user_engagement.cli.published import findings, kpi_table

    console.print(kpi_table(generation))
    if explanation := findings(generation):
        console.print(explanation)


simulate_app = typer.Typer(
    add_completion=False,
    invoke_without_command=True,
    help="Create the simulated company, or advance it in time.",
)
app.add_typer(simulate_app, name="simulate")


@simulate_app.callback()
def simulate(
    context: typer.Context,
    users: Annotated[
        int | None, typer.Option(help="Expected signups by the end of November 2026 (default: 20,000).")
    ] = None,
    through: Annotated[
        str | None, typer.Option(help="Last day to simulate, YYYY-MM-DD (default: yesterday).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random numbers.")] = None,
    format: Annotated[  # noqa: A002
        EventFormat, typer.Option(help="snowplow: also write the events as Snowplow enriched files.")
    ] = EventFormat.parquet,
) -> None:
    """Create the simulated company, or advance it in time. Time only moves forward."""
    if context.invoked_subcommand:
        return
    settings = configure(seed=seed)
    from user_engagement.cli.console import RunProgress
    from user_engagement.cli.simulated_company import simulate as simulate_company
    from user_engagement.cli.simulated_company import write_snowplow_files

    with RunProgress(progress_console) as progress:
        summary = simulate_company(settings, users, _day(through, "--through"), progress.on_day)
        if format is EventFormat.snowplow:
            progress.show_step("writing Snowplow's enriched files")
            folder = write_snowplow_files(settings)
            console.print(f"Snowplow's enriched events: {folder}")
    console.print(str(summary))


@simulate_app.command()
def truth(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.")],
) -> None:
    """Write the planted causes and their effects, and each simulated user's true churn day and cause."""
    settings = configure()
    from user_engagement.cli.simulated_company import write_truth

    for file in write_truth(settings, folder):
        console.print(str(file))


@simulate_app.command()
def emit(
    collector: Annotated[str, typer.Argument(help="Address of a Snowplow collector, http://127.0.0.1:9090.")],
    day: Annotated[
        str | None, typer.Option(help="Day whose events to send, YYYY-MM-DD (default: the newest).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of events to send.")] = 1000,
) -> None:
    """Send a day's events to a Snowplow collector with the official tracker."""
    settings = configure()
    from user_engagement.cli.simulated_company import emit_day

    console.print(f"{emit_day(settings, collector, _day(day, '--day'), limit):,} events sent to {collector}")


@app.command()
def dev(
    port: Annotated[
        int | None, typer.Option(help="Port of the UI (default: the first free one from 3000).")
    ] = None,
    with_dashboard: Annotated[
        bool, typer.Option("--dashboard/--no-dashboard", help="Whether to start the dashboard too.")
    ] = True,
) -> None:
    """Start Dagster's UI and daemon, and the dashboard, on 127.0.0.1; Ctrl-C stops them."""
    settings = configure()
    from user_engagement.cli.dev_server import serve

    raise typer.Exit(serve(settings, port, with_dashboard, console))


@app.command()
def doctor(
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Also load a small simulated company, and compare every mart with the one in DuckDB.",
        ),
    ] = False,
) -> None:
    """Check whether the Snowflake account (SNOWFLAKE_* variables) is ready, and show how to fix what is not."""
    settings = configure()
    from user_engagement.warehouse.snowflake.account import load_account

    account = load_account()
    # after the account: the connector takes seconds to import
    from user_engagement.insights.tables import OF_USERS, TABLES
    from user_engagement.warehouse.snowflake.doctor import examine
    from user_engagement.warehouse.snowflake.source_tables import SnowflakeTables

    is_ready = True
    tables = SnowflakeTables(account, settings.source_path)
    stages = [
        tables.stage(each.table) for each in settings.source_tables.values() if each.table.startswith("@")
    ]
    readable = [f"insights.{name}" for name in TABLES if name not in OF_USERS]
    for finding in examine(account, readable, stages if settings.source == "warehouse" else ()):
        is_ready = is_ready and finding.passed
        mark = "[green]✓[/]" if finding.passed else "[red]✗[/]"
        console.print(f"{mark} {finding.name}: {_escaped(finding.found)}", soft_wrap=True)
        if not finding.passed:
            console.print(f"  fix: [bold]{_escaped(finding.remedy)}[/]", soft_wrap=True)
    if full and is_ready:
        from user_engagement.cli.warehouse_comparison import compare_warehouses

        comparison = compare_warehouses(lambda step: progress_console.print(f"[dim]{step}[/]"))
        for load, seconds in comparison.seconds.items():
            console.print(f"{load}: {seconds:.1f} s")
        for difference in comparison.differences:
            console.print(f"[red]✗[/] {_escaped(difference)}", soft_wrap=True)
        is_ready = not comparison.differences
        if is_ready:
            console.print(f"[green]✓[/] all marts are equal, {comparison.rows:,} rows")
    raise typer.Exit(0 if is_ready else 1)


@app.command()
def dashboard(
    port: Annotated[
        int | None, typer.Option(help="First port to try (default: the setting DASHBOARD_PORT, 8501).")
    ] = None,
) -> None:
    """Serve the dashboard of the published KPIs, on 127.0.0.1 unless DASHBOARD_HOST is set; Ctrl-C stops it."""
    settings = configure(dashboard_port=port)
    from user_engagement.dashboard.server import serve

    serve(settings, console)


def main() -> None:
    """Entry point. A user's mistake ends in one clear message and exit code 2, never in a traceback."""
    try:
        app()
    except UserError as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]error:[/] {_escaped(str(error))}")
        sys.exit(2)
    except Exception as error:
        from user_engagement.cli.machine import machine_problem

        problem = machine_problem(error, get_settings())
        if problem is None and not isinstance(error, RunFailedError):
            raise
        Console(stderr=True, soft_wrap=True).print(f"[red]run failed:[/] {_escaped(problem or str(error))}")
        sys.exit(1)


def _day(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UserError(f"{option} {text}: not a day; write it as 2025-03-31") from None


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
