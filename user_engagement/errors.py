"""Errors that the command line shows as one message; it exits with 2 for a `UserError`, and with 1 for a failed run."""

from __future__ import annotations


class UserError(Exception):
    """Wrong input or configuration. The message says what was found, where, and what to do."""


class RunFailedError(Exception):
    """The run did not succeed; the message says which step failed and why."""


class SettingsError(UserError):
    """A setting has a value that cannot be used."""


class SourceError(UserError):
    """A source cannot be read, or breaks its contract."""


class UnreadableFileError(SourceError):
    """One file of a source cannot be read at all: damaged, cut off, or without permission."""


class WarehouseError(UserError):
    """The warehouse cannot be opened, or one of its tables cannot take the rows to be loaded."""


class WarehouseBusyError(WarehouseError):
    """Another process holds the warehouse; it will be free again."""
