"""Streamlit's server, as a command: one process, which fetches nothing from outside."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from user_engagement.dashboard.ports import HOST, free_port
from user_engagement.dashboard.theme import DARK, LIGHT
from user_engagement.errors import UserError
from user_engagement.settings import PREFIX, Settings

APP = Path(__file__).with_name("app.py")
OPTIONS = {
    "BROWSER_GATHER_USAGE_STATS": "false",
    "CLIENT_SHOW_ERROR_DETAILS": "none",
    "CLIENT_TOOLBAR_MODE": "minimal",
    "GLOBAL_DEVELOPMENT_MODE": "false",
    # for the welcome message Streamlit asks a server on the internet for this host's address
    "LOGGER_HIDE_WELCOME_MESSAGE": "true",
    "LOGGER_LEVEL": "warning",
    "RUNNER_MAGIC_ENABLED": "false",
    "SERVER_ENABLE_CORS": "true",
    "SERVER_ENABLE_XSRF_PROTECTION": "true",
    "SERVER_FILE_WATCHER_TYPE": "none",
    "SERVER_HEADLESS": "true",
    "SERVER_SHOW_EMAIL_PROMPT": "false",
    "THEME_LIGHT_PRIMARY_COLOR": LIGHT.series[0],
    "THEME_LIGHT_BACKGROUND_COLOR": LIGHT.ground,
    "THEME_LIGHT_SECONDARY_BACKGROUND_COLOR": LIGHT.panel,
    "THEME_LIGHT_TEXT_COLOR": LIGHT.text,
    "THEME_DARK_PRIMARY_COLOR": DARK.series[0],
    "THEME_DARK_BACKGROUND_COLOR": DARK.ground,
    "THEME_DARK_SECONDARY_BACKGROUND_COLOR": DARK.panel,
    "THEME_DARK_TEXT_COLOR": DARK.text,
}
"""Streamlit's settings; as environment variables, those that a version does not know are let be."""


def command(port: int) -> list[str]:
    """Runs the dashboard on ``port``; start it with `environment`."""
    return [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]


def environment(settings: Settings) -> dict[str, str]:
    """What the server is started with: this process's environment, and Streamlit's settings.

    Raises:
        UserError: a login is asked for, and what it needs is missing.
    """
    added = {f"STREAMLIT_{name}": value for name, value in OPTIONS.items()}
    added["STREAMLIT_SERVER_ADDRESS"] = settings.dashboard_host
    # which pages may open the dashboard's websocket, whatever host name a proxy passes on
    added["STREAMLIT_BROWSER_SERVER_ADDRESS"] = urlsplit(settings.dashboard_address).hostname or HOST
    added[PREFIX + "HOME"] = str(settings.home.absolute())
    if settings.dashboard_login:
        added["STREAMLIT_SECRETS_FILES"] = str(_login_secrets(settings))
    return {**os.environ, **added}


def serve(settings: Settings, console: Console) -> None:
    """Becomes the dashboard's server; Ctrl-C or SIGTERM ends it.

    Raises:
        UserError: what a login needs is missing.
    """
    chosen = free_port(settings.dashboard_port, reusing=False)
    variables = environment(settings)
    console.print(f"Dashboard: [bold]http://{settings.dashboard_host}:{chosen}[/]   (Ctrl-C stops it)")
    sys.stdout.flush()
    os.execve(sys.executable, command(chosen), variables)


def _login_secrets(settings: Settings) -> Path:
    secrets = settings.home.absolute() / "dashboard" / "secrets.toml"
    if not secrets.is_file():
        raise UserError(
            f"{PREFIX}DASHBOARD_LOGIN is set, but {secrets} is not there: write the section [auth] of"
            " docs/dashboard.md into it."
        )
    if importlib.util.find_spec("authlib") is None:
        raise UserError(
            f"{PREFIX}DASHBOARD_LOGIN is set, but Authlib is not installed: pip install 'Authlib>=1.3.2'"
        )
    return secrets
