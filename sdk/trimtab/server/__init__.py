"""The embedded registry: a small server that speaks Consul's HTTP API.

It speaks the part that discovery and registration use, so that every Consul client works
against it, and only the URL changes on the day of moving to a real cluster. One node, one
datacenter, one process; state in one SQLite file. `EmbeddedRegistry` runs it inside a program,
`serve` as a program, `create_app` under any ASGI server.

From the inside out: `catalog`, `agent`, `indexes`, `deadlines` decide and do no I/O; `store`,
`blocking`, `prober` do it; `state` ties them together; `http_api` is a thin skin around.
"""

from __future__ import annotations

from trimtab.server.app import create_app
from trimtab.server.run import EmbeddedRegistry, serve

__all__ = ["EmbeddedRegistry", "create_app", "serve"]
