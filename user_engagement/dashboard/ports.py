"""Ports of this host that a server of ours can have."""

from __future__ import annotations

import socket

from user_engagement.errors import UserError

HOST = "127.0.0.1"


def is_free(port: int, reusing: bool = True) -> bool:
    """Whether a server can listen there.

    A port that was left a moment ago may still have connections to wind up: that is in the way of a server that does
    not reuse addresses.
    """
    with socket.socket() as probe:
        if reusing:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(first: int, reusing: bool = True) -> int:
    """The first port from ``first`` on that is free.

    Raises:
        UserError: none is.
    """
    for port in range(first, 65536):
        if is_free(port, reusing):
            return port
    raise UserError(f"No port from {first} on is free. Name another with --port.")
