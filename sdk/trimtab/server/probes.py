"""Active health checks: a check definition as a probe."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trimtab.probing import Finding, bounded, probe_http, probe_script, probe_tcp

if TYPE_CHECKING:
    from trimtab.probing import HttpClients
    from trimtab.server.definitions import CheckDefinition

__all__ = ["look"]

_TIMEOUT_S = 10.0
_SCRIPT_TIMEOUT_S = 30.0


async def look(definition: CheckDefinition, clients: HttpClients) -> Finding:
    """Look once, within the check's timeout (default 10 s, a script 30 s). Never raises."""
    timeout_s = definition.timeout_s or (
        _SCRIPT_TIMEOUT_S if definition.type == "script" else _TIMEOUT_S
    )
    looking = partial(_look, definition, clients)
    return await bounded(looking, what=definition.type, timeout_s=timeout_s)


async def _look(definition: CheckDefinition, clients: HttpClients) -> Finding:
    if definition.type == "http":
        return await _look_by_http(definition, clients)
    if definition.type == "tcp":
        host, _, port = definition.tcp.rpartition(":")
        return await probe_tcp(host.strip("[]"), int(port))
    return await probe_script(definition.args, max_bytes=definition.output_max_size)


async def _look_by_http(definition: CheckDefinition, clients: HttpClients) -> Finding:
    """Ask the URL: 2xx is passing, all else critical (also 429, which Consul calls warning)."""
    client = clients.get(verify=not definition.tls_skip_verify)
    request = client.build_request(
        definition.method or "GET",
        definition.http,
        headers=[(name, value) for name, values in definition.header.items() for value in values],
        content=definition.body or None,
    )
    return await probe_http(
        request,
        client,
        expects=lambda status: 200 <= status <= 299,  # noqa: PLR2004 - the range of success
        max_bytes=definition.output_max_size,
    )
