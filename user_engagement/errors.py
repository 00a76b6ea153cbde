"""Errors that a user can mend: their message is the whole story, and the command line exits with 2."""

from __future__ import annotations


class UserError(Exception):
    """Wrong input or configuration. The message names what was found, where, and what to do about it."""


class SettingsError(UserError):
    """A setting has a value that cannot be used."""


class SourceError(UserError):
    """A source cannot be read as its contract asks."""


class WarehouseError(UserError):
    """The warehouse cannot be opened, or holds a table that cannot take what is to be loaded."""
