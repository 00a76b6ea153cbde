"""The services of deploy/compose.yaml without Docker: each command in a sandbox with what its container would have.

`bwrap` gives a service its user, read-only files, volumes, secrets, host name and processes of its own. All services
share one network, in which their names mean this host. Programs come from this machine, not from images. Started as a
program inside a new network (`IN_A_NEW_NETWORK`), this module starts everything, tries it, and prints what it saw.
"""

from __future__ import annotations

import base64
import fcntl
import http.client
import json
import os
import pwd
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from user_engagement.settings import PROJECT_ROOT
from user_engagement_tests.support.postgres import binaries
from user_engagement_tests.support.servers import RUN_SECONDS, Deployment

DEPLOY = PROJECT_ROOT / "deploy"
IN_A_NEW_NETWORK = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
SANDBOX = [
    *(
        "bwrap",
        "--unshare-user",
        "--unshare-pid",
        "--unshare-uts",
        "--unshare-ipc",
        "--uid",
        "1000",
        "--gid",
        "1000",
    ),
    *("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"),
]
"""What must be allowed inside a new network."""
READY_SECONDS = 300
MONTHS = ("2025-01-01", "2025-02-01")
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
READER, OPERATOR, PASSWORD = "reader", "operator", "correct horse battery staple"
SHARED = ("/usr", "/bin", "/sbin", "/lib", "/lib64", sys.base_prefix, str(Path(sys.prefix).resolve()))
"""Folders with the programs that the images would hold."""
ETC = ("alternatives", "group", "ld.so.cache", "localtime", "nsswitch.conf", "passwd", "ssl")
POSTGRES = """
if [ ! -e "$PGDATA/PG_VERSION" ]; then
  initdb -U "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS --no-sync -E UTF8 --locale C.UTF-8
  echo "create database $POSTGRES_DB" | postgres --single -D "$PGDATA" postgres
fi
exec postgres -D "$PGDATA" -c unix_socket_directories=/run/postgresql
"""
"""What the image of PostgreSQL does."""


def compose(**variables: str) -> dict[str, Any]:
    """The file as Compose reads it: ``${NAME:-default}`` replaced, ``$$`` for a dollar."""
    parsed = json.dumps(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), parsed)
    return json.loads(text.replace("$$", "$"))


def image_environment() -> dict[str, str]:
    """The environment that the Dockerfile sets, with the programs of this machine."""
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    return dict(re.findall(r"([A-Z_]+)=(\S+)", block))


class Service:
    """One service: its sandbox, its process, and its health check."""

    def __init__(self, name: str, everything: dict[str, Any], folder: Path) -> None:
        self.name = name
        self.spec = everything["services"][name]
        self.secrets = everything["secrets"]
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        program = self.spec["image"].partition(":")[0]
        self.entrypoint: list[str] = []
        self.command: list[str] = self.spec.get("command", ["sh", "-ec", POSTGRES])
        path = f"{Path(sys.prefix).resolve() / 'bin'}:{binaries()}:/usr/bin:/bin"
        images = {
            "caddy": {"XDG_CONFIG_HOME": "/config", "XDG_DATA_HOME": "/data", "HOME": "/tmp"},
            "postgres": {"PGDATA": "/var/lib/postgresql/data"},
            "user-engagement": image_environment() | {"PYTHONPATH": "/app"},
        }
        self.environment = {**images[program], **self.spec.get("environment", {}), "PATH": path}
        if program == "user-engagement":
            self.entrypoint = ["/app/deploy/entrypoint.sh"]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._sandbox(), *self.entrypoint, *self.command], stdout=log, stderr=log
            )

    def kill(self) -> None:
        """Kills the process by its id; the kernel kills all others in the sandbox with it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def is_ready(self) -> bool:
        """Whether the health check passes, or the command of a service without one has succeeded.

        Like Docker, the check does without the entry point.
        """
        assert self.process is not None
        code = self.process.poll()
        assert not code, self.log.read_text()
        if "healthcheck" not in self.spec:
            return code == 0
        assert code is None, f"{self.name} has ended: {self.log.read_text()}"
        kind, *check = self.spec["healthcheck"]["test"]
        assert kind == "CMD"
        with self.log.open("ab") as log:
            return (
                subprocess.run([*self._sandbox(), *check], stdout=log, stderr=log, check=False).returncode
                == 0
            )

    def _sandbox(self) -> list[str]:
        user = str(self.spec.get("user", 0)).partition(":")[0]
        uid = user if user.isdigit() else str(pwd.getpwnam(user).pw_uid)
        command = [
            "bwrap",
            "--die-with-parent",
            "--unshare-user",
            "--unshare-pid",
            "--unshare-uts",
            "--unshare-ipc",
        ]
        command += ["--uid", uid, "--gid", uid, "--hostname", self.spec.get("hostname", f"{self.name}-1")]
        command += ["--cap-drop", "ALL"]
        command += [word for name in self.spec.get("cap_add", []) for word in ("--cap-add", f"CAP_{name}")]
        command += ["--proc", "/proc", "--dev", "/dev", "--dir", "/run/secrets", "--clearenv"]
        for place in dict.fromkeys(SHARED):
            link = Path(place)
            command += (
                ["--symlink", str(link.readlink()), place]
                if link.is_symlink()
                else ["--ro-bind-try", place, place]
            )
        command += [word for name in ETC for word in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")]
        command += ["--ro-bind", str(self.folder / "hosts"), "/etc/hosts"]
        command += ["--ro-bind", str(PROJECT_ROOT), "/app", "--chdir", "/app"]
        for place in self.spec.get("tmpfs", []):
            command += ["--tmpfs", place.replace("/var/run", "/run")]
        for volume in self.spec.get("volumes", []):
            command += self._mount(*volume.split(":"))
        for name in self.spec.get("secrets", []):
            secret = self.folder / "deploy" / self.secrets[name]["file"]
            command += ["--ro-bind", str(secret), f"/run/secrets/{name}"]
        for name, value in self.environment.items():
            command += ["--setenv", name, str(value)]
        return [*command, "--remount-ro", "/"] if self.spec["read_only"] else command

    def _mount(self, source: str, place: str, mode: str = "rw") -> list[str]:
        if source.startswith("."):
            found = DEPLOY / source
        else:
            found = self.folder / "volumes" / source
            found.mkdir(parents=True, exist_ok=True)
        return ["--ro-bind" if mode == "ro" else "--bind", str(found.resolve()), place]


def make_secrets(folder: Path) -> None:
    """Runs the commands of docs/operations.md, with this machine's Caddy in place of the image's."""
    page = (PROJECT_ROOT / "docs" / "operations.md").read_text()
    (script,) = re.findall(r"```sh\n(mkdir -m 700 deploy/secrets\n.*?)```", page, re.DOTALL)
    script = re.sub(r"docker run --rm -i caddy:\S+ ", "", script)
    (folder / "deploy").mkdir()
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    subprocess.run(
        ["sh", "-ec", script],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder)},
        input=f"{PASSWORD}\n" * 2,
        text=True,
        check=True,
    )


class Stack:
    """All services, started in the order in which they wait for each other; used as a context manager."""

    def __init__(self, folder: Path) -> None:
        everything = compose(AUTOMATION="false")
        self.services = {name: Service(name, everything, folder) for name in everything["services"]}
        self.folder = folder
        self.ready: list[str] = []
        make_secrets(folder)
        names = " ".join([*self.services, "localhost"])
        (folder / "hosts").write_text(f"127.0.0.1 {names}\n")

    def __enter__(self) -> Stack:
        deadline = time.monotonic() + READY_SECONDS
        try:
            while len(self.ready) < len(self.services):
                self._step()
                logs = {name: each.log.read_text() for name, each in self.services.items() if each.process}
                assert time.monotonic() < deadline, logs
                time.sleep(0.5)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services.values():
            service.kill()

    def _step(self) -> None:
        """Starts the services whose wait is over, and looks which have become ready."""
        for name, service in self.services.items():
            if service.process is None:
                if set(service.spec.get("depends_on", [])) <= set(self.ready):
                    service.start()
            elif name not in self.ready and service.is_ready():
                self.ready.append(name)

    def restart(self, name: str) -> None:
        self.services[name].kill()
        self.services[name].start()


class Browser:
    """Requests to the proxy over TLS, which trust Caddy's own authority alone."""

    def __init__(self, authority: Path) -> None:
        self.context = ssl.create_default_context(cafile=str(authority))

    def status(self, path: str, user: str | None = None, **headers: str) -> int:
        connection = http.client.HTTPSConnection("localhost", context=self.context, timeout=30)
        login = {"Authorization": basic(user)} if user else {}
        connection.request(
            "GET", path, headers={**login, **{k.replace("_", "-"): v for k, v in headers.items()}}
        )
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    def opens_a_websocket(self, path: str, user: str, origin: str) -> int:
        """The status of the answer: 101 if the connection was switched to a websocket."""
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        return self.status(path, user, Origin=origin, Sec_WebSocket_Key=key, **upgrade)

    def deployment(self, folder: Path) -> Deployment:
        """Dagster's GraphQL behind the proxy, asked as an operator."""
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=self.context))
        opener.addheaders = [("Authorization", basic(OPERATOR))]
        urllib.request.install_opener(opener)
        deployment = Deployment(folder)
        deployment.url = "https://localhost/dagster"
        return deployment


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()


def prepare_network() -> None:
    """What Docker does in a new network: loopback is up, and every user may listen on any port."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")


def seen(folder: Path, restarting: bool) -> dict[str, Any]:
    """What was seen while all services ran: who may log in, a run, and a run whose code server is restarted."""
    prepare_network()
    with Stack(folder) as stack:
        browser = Browser(
            folder / "volumes" / "certificates" / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        )
        paths = {"dashboard": "/", "dagster": "/dagster/server_info"}
        found: dict[str, Any] = {"ready": stack.ready}
        found["statuses"] = {
            f"{name} {user}": browser.status(path, user)
            for name, path in paths.items()
            for user in (None, READER, OPERATOR)
        }
        found["said by the dashboard"] = stack.services["dashboard"].log.read_text()
        found["websockets"] = {
            origin: browser.opens_a_websocket("/_stcore/stream", READER, origin)
            for origin in ("https://localhost", "https://elsewhere.example")
        }
        dagster = browser.deployment(folder / "client")
        first = dagster.launch("refresh_activity", *MONTHS)
        dagster.until(lambda: dagster.run(first)["status"] in ("SUCCESS", "FAILURE"), RUN_SECONDS)
        found["first"] = dagster.run(first)["status"]
        if restarting:
            lost = dagster.launch("refresh_activity", *MONTHS)
            dagster.until(lambda: dagster.run(lost)["stats"]["materializations"] > 0, RUN_SECONDS, every=0.05)
            stack.restart("code")
            dagster.until(lambda: dagster.run(lost)["status"] in ("SUCCESS", "FAILURE"), RUN_SECONDS)
            events = dagster.run(lost)["eventConnection"]["events"]
            found["lost"] = [e["message"] for e in events if e["__typename"] == "RunFailureEvent"]
    return found


if __name__ == "__main__":
    print(json.dumps(seen(Path(sys.argv[1]), restarting="--restarting" in sys.argv)))
