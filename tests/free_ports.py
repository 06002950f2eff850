"""Ports for what tests start."""

import contextlib
import random
import socket


def free_port() -> int:
    """Return a port that nobody has, below those that the kernel gives to connections: one of these would take it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
