"""Redis."""

from __future__ import annotations

import socket
from pathlib import Path

from real.server import Server

REDIS = Path("/usr/bin/redis-server")


class Redis(Server):
    """A redis-server that keeps nothing on disk."""

    name = "redis"

    def command(self):
        return [
            *(self.binary, "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", self.folder, "--save", "", "--appendonly", "no"),
        ]

    def is_ready(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False
