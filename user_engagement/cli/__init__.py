"""The command line: ``user-engagement``."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType

from user_engagement.interpreter import collect_less_often, end_at_once, long_lived

__all__ = ["main"]
INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""


def main() -> None:
    """Entry point. Ctrl-C ends a command with exit code 130 from its first import on; a second one ends it at once."""
    interrupts: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if interrupts:
            # what is being written is a transaction, or a file that does not have its name yet
            os._exit(INTERRUPTED)
        interrupts.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    codes: list[int] = []
    # registered first, so that it is called last
    atexit.register(end_at_once, codes)
    try:
        # the imports take half a second
        with long_lived():
            from user_engagement.cli.app import main as run_command

        collect_less_often()
        run_command()
    except BaseException as error:
        # libraries turn an interrupt into errors of their own, or take it over while they work
        is_exit = isinstance(error, SystemExit) and error.code == INTERRUPTED
        if not (interrupts or is_exit or isinstance(error, KeyboardInterrupt)):
            if isinstance(error, SystemExit) and isinstance(error.code or 0, int):
                codes.append(int(error.code or 0))
            raise
        # a second one must not change the exit code while threads and temporary files are cleared away
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("Interrupted. What is published has not changed.", file=sys.stderr)
        sys.exit(INTERRUPTED)
