"""A real PostgreSQL for tests: Debian's binaries, a data folder of its own, loopback only, a free port."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from user_engagement.contracts.raw import RAW_TABLES
from user_engagement_tests.support.ports import unused_port

UNPRIVILEGED = "postgres"
OWNER = "owner"
START_SECONDS = 120
QUICK = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
"""What a server that lives for one test run need not survive."""


@dataclass(frozen=True)
class Server:
    """A running server: every database user logs in with a password."""

    port: int
    password: str

    def url(self, database: str = "postgres", user: str = OWNER, password: str | None = None) -> str:
        secret = password or self.password
        return f"postgresql+psycopg://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database, dropped afterwards."""
        name = f"test_{secrets.token_hex(6)}"
        admin = sa.create_engine(self.url(), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            connection.exec_driver_sql(f"create database {name}")
        try:
            yield self.url(name)
        finally:
            with admin.connect() as connection:
                connection.exec_driver_sql(f"drop database {name} with (force)")


def copy_into(url: str, files: Path) -> None:
    """The three tables of the files as tables of a database."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    for table in RAW_TABLES:
        frame = pq.read_table(files / f"{table.name}.parquet").to_pandas()
        frame.to_sql(table.name, engine, index=False, chunksize=5_000)


def binaries() -> Path | None:
    """The folder of the newest PostgreSQL that Debian installed; None without one."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda folder: float(folder.parent.name), default=None)


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that runs while the block does; the test is skipped where PostgreSQL is not installed."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("PostgreSQL refuses to run as root, and setpriv (util-linux) is not there to change user")
    folder = Path(tempfile.mkdtemp(prefix="user_engagement_pg_"))
    try:
        with _process(programs, folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _process(programs: Path, folder: Path) -> Iterator[Server]:
    server = Server(unused_port(), secrets.token_hex(12))
    secret, data = folder / "password", folder / "data"
    secret.write_text(server.password)
    if os.geteuid() == 0:
        shutil.chown(folder, UNPRIVILEGED)
        shutil.chown(secret, UNPRIVILEGED)
    account = ("-U", OWNER, "--pwfile", str(secret), "--auth=scram-sha-256")
    encoding = ("--encoding=UTF8", "--locale=C.UTF-8")
    _run([str(programs / "initdb"), "-D", str(data), *account, *encoding, "--no-sync"])
    reachable = ("listen_addresses=127.0.0.1", f"port={server.port}", f"unix_socket_directories={folder}")
    settings = [argument for setting in (*reachable, *QUICK) for argument in ("-c", setting)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            _unprivileged([str(programs / "postgres"), "-D", str(data), *settings]),
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )
    try:
        _await(server, process, folder / "log")
        yield server
    finally:
        # "immediate shutdown": nothing is kept, and sessions that a test left open are not waited for
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _unprivileged(command: Sequence[str]) -> list[str]:
    """The command, as Debian's user `postgres` where the tests run as root."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--init-groups", *command]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(_unprivileged(command), capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")


def _await(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when the server answers; fails with the end of its log when it does not."""
    engine = sa.create_engine(server.url(), poolclass=sa.NullPool)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with engine.connect():
                return
        except OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')[-2000:]}")
