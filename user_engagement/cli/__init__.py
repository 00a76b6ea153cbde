"""The command line: ``user-engagement``."""

from user_engagement.cli.app import main

__all__ = ["main"]
