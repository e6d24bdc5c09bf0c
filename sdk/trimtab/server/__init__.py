"""The embedded registry: a small server that speaks Consul's HTTP API.

It speaks the part that discovery and registration use, so every Consul client works against it,
and a move to a real cluster changes only the URL. One node, one datacenter, one process; the
state is in one SQLite file. `EmbeddedRegistry` runs it inside a program, `serve` as a program,
`create_app` under any ASGI server.

`decoding` and `definitions` read and check what clients send. `catalog`, `agent` and `external`
decide, without I/O, and keep `records`. `store`, `blocking` and `prober` (whose checks run in
`lanes`) do the I/O, and `state` joins them. `app` and `http_api` are the HTTP endpoints, whose
answers `views` makes; `run` serves, and `connections` bounds how many clients it has.
"""

from __future__ import annotations

try:
    from trimtab.server.app import create_app
    from trimtab.server.run import EmbeddedRegistry, serve
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"starlette", "uvicorn"}:
        raise
    raise ModuleNotFoundError(
        f"the embedded registry needs {error.name}, which is not installed; "
        "run: pip install 'trimtab[server]'",
        name=error.name,
    ) from None

__all__ = ["EmbeddedRegistry", "create_app", "serve"]
