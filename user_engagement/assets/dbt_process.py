"""Runs dbt-core inside this process, through dagster-dbt's resource.

dagster-dbt starts ``dbt --version`` and then one dbt process per call: 7 to 9 seconds each before the first model.
Here dbt runs in a thread. dagster-dbt's `DbtCliInvocation` still reads its output, so events, checks and errors are
the same. The setting ``USER_ENGAGEMENT_DBT_IN_PROCESS=false`` switches back to processes. dagster-dbt and dbt-core are
pinned because this module uses private names of both.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from types import TracebackType
from typing import Any

from dagster_dbt import DagsterDbtTranslator, DbtCliInvocation, DbtCliResource
from dagster_dbt.asset_utils import (
    DBT_INDIRECT_SELECTION_ENV,
    extract_runtime_selection_from_args,
    get_updated_cli_invocation_params_for_context,
)
from dagster_dbt.dbt_manifest import validate_manifest
from packaging.version import Version
from pydantic import Field

from user_engagement.inputs.parsed_project import parsed_manifest

LEVELS = ("info", "warn", "error")
_END = object()
_one_at_a_time = threading.Lock()  # dbt keeps its flags, adapters and event manager in globals


class DbtThread:
    """dbt in a thread, with the part of the `subprocess.Popen` interface that `DbtCliInvocation` uses."""

    def __init__(self, args: Sequence[str], manifest: Any, environment: dict[str, str]) -> None:
        self.args = ["dbt", *args]
        self.returncode: int | None = None
        self.closed = False
        self.stdout = self
        self._manifest = manifest
        self._environment = environment
        self._lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="dbt", daemon=True)
        self._thread.start()

    def __enter__(self) -> DbtThread:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed = True

    def __iter__(self) -> Iterator[bytes]:
        while (line := self._lines.get()) is not _END:
            yield line

    def wait(self, timeout: float | None = None) -> int | None:
        self._thread.join(timeout)
        return self.returncode

    def send_signal(self, _signal: int) -> None:
        """Asks dbt to stop: it cancels on a KeyboardInterrupt, once its running query is cancelled."""
        from dbt.adapters.factory import FACTORY

        thread = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(KeyboardInterrupt))
        for adapter in list[Any](FACTORY.adapters.values()):
            with contextlib.suppress(Exception):
                adapter.cancel_open_connections()

    def _run(self) -> None:
        try:
            with _one_at_a_time, _environment(self._environment), _released_adapters() as seen:
                self.returncode = self._invoke(seen)
        except BaseException as error:  # the waiting thread must learn of any error that ends this one
            self._lines.put(f"{type(error).__name__}: {error}".encode())
        finally:
            if self.returncode is None:
                self.returncode = 2
            self._lines.put(_END)

    def _invoke(self, seen: dict[int, Any]) -> int:
        from dbt.cli.main import dbtRunner
        from dbt_common.events.functions import msg_to_json

        def forward(message: Any) -> None:
            _remember_environment(seen)
            if message.info.level in LEVELS:
                self._lines.put(msg_to_json(message).encode())

        result = dbtRunner(manifest=self._manifest, callbacks=[forward]).invoke(self.args[1:])
        if result.exception is not None:
            self._lines.put(f"{type(result.exception).__name__}: {result.exception}".encode())
            return 2
        return 0 if result.success else 1


class DbtProcess(DbtCliResource):
    """`DbtCliResource` that adds ``environment`` to the variables of the processes that it starts."""

    environment: dict[str, str] = Field(default_factory=dict)

    def cli(self, args: Sequence[str], **options: Any) -> DbtCliInvocation:
        with _environment(self.environment):
            return super().cli(args, **options)


class InProcessDbt(DbtCliResource):
    """`DbtCliResource` whose `cli` runs dbt in a thread of this process rather than as a subprocess.

    ``parse_dir`` is the folder of dbt's parsed project, which the next process reads instead of parsing.
    ``environment`` holds the variables that the profile reads.
    """

    parse_dir: str
    environment: dict[str, str] = Field(default_factory=dict)

    def cli(
        self,
        args: Sequence[str],
        *,
        raise_on_error: bool = True,
        manifest: Any = None,
        dagster_dbt_translator: DagsterDbtTranslator | None = None,
        context: Any = None,
        target_path: Path | None = None,
    ) -> DbtCliInvocation:
        plain_args, selects, excludes = extract_runtime_selection_from_args(args)
        params = get_updated_cli_invocation_params_for_context(
            context=context,
            manifest=validate_manifest(manifest) if manifest else {},
            dagster_dbt_translator=dagster_dbt_translator or DagsterDbtTranslator(),
            runtime_selects=selects,
            runtime_excludes=excludes,
        )
        project_dir = Path(self.project_dir)
        target = (target_path or self._get_unique_target_path(context=context)).absolute()
        command = [
            *("--log-level", "none", "--log-path", str(target), "--no-use-colors"),
            *self.global_config_flags,
            *plain_args,
            *("--project-dir", str(project_dir), "--profiles-dir", str(self.profiles_dir or project_dir)),
            *("--target-path", str(target)),
            *(("--target", self.target) if self.target else ()),
            *params.selection_args,
        ]
        own_manifest = parsed_manifest(project_dir, self.target or "", Path(self.parse_dir), self.environment)
        environment = {**self.environment, "DAGSTER_DBT_CLI": "true"}
        if params.indirect_selection:
            environment[DBT_INDIRECT_SELECTION_ENV] = params.indirect_selection
        return DbtCliInvocation(
            process=DbtThread(command, own_manifest, environment),  # type: ignore[arg-type]
            manifest=params.manifest,
            dagster_dbt_translator=params.dagster_dbt_translator,
            project_dir=project_dir,
            target_path=target,
            raise_on_error=raise_on_error,
            context=context,
            adapter=None,
            cli_version=Version(installed_version("dbt-core")),
            project=params.dbt_project,
        )


@contextlib.contextmanager
def _environment(extra: dict[str, str]) -> Iterator[None]:
    """Sets environment variables temporarily, and restores the working directory, which dbt changes.

    Also hides the command line, which dbt writes into its log and its results: it may contain a database URL with a
    password.
    """
    before, folder, command_line = {name: os.environ.get(name) for name in extra}, Path.cwd(), sys.argv
    os.environ.update(extra)
    sys.argv = ["dbt"]
    try:
        yield
    finally:
        sys.argv = command_line
        os.chdir(folder)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _remember_environment(seen: dict[int, Any]) -> None:
    """Remembers dbt-duckdb's connection environment, which dbt-duckdb drops without closing it."""
    module = sys.modules.get("dbt.adapters.duckdb.connections")
    environment = module.DuckDBConnectionManager._ENV if module else None
    if environment is not None:
        seen[id(environment)] = environment


@contextlib.contextmanager
def _released_adapters() -> Iterator[dict[int, Any]]:
    """Closes every connection that dbt opened when the block ends, which releases the lock on the DuckDB file."""
    seen: dict[int, Any] = {}
    try:
        yield seen
    finally:
        from dbt.adapters.factory import FACTORY
        from dbt_common.events.event_manager_client import cleanup_event_logger

        _remember_environment(seen)
        for action in (
            FACTORY.cleanup_connections,
            FACTORY.reset_adapters,
            *(e.close for e in seen.values()),
        ):
            with contextlib.suppress(Exception):
                action()
        cleanup_event_logger()
