"""Active health checks: a check definition as a probe."""

from __future__ import annotations

from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING

import httpx

from trimtab.probing import ProbeResult, bounded, http_request, probe_http, probe_script, probe_tcp

if TYPE_CHECKING:
    from trimtab.probing import HttpTransports
    from trimtab.server.definitions import CheckDefinition

__all__ = ["look"]

_TIMEOUT_S = 10.0
_SCRIPT_TIMEOUT_S = 30.0


async def look(definition: CheckDefinition, transports: HttpTransports) -> ProbeResult:
    """Look once, within the check's timeout (default 10 s, a script 30 s). Never raises."""
    timeout_s = definition.timeout_s or (
        _SCRIPT_TIMEOUT_S if definition.type == "script" else _TIMEOUT_S
    )
    looking = partial(_look, definition, transports)
    return await bounded(looking, what=definition.type, timeout_s=timeout_s)


async def _look(definition: CheckDefinition, transports: HttpTransports) -> ProbeResult:
    if definition.type == "http":
        return await _look_by_http(definition, transports)
    if definition.type == "tcp":
        host, _, port = definition.tcp.rpartition(":")
        return await probe_tcp(host.strip("[]"), int(port))
    return await probe_script(definition.args, max_bytes=definition.output_max_size)


async def _look_by_http(definition: CheckDefinition, transports: HttpTransports) -> ProbeResult:
    """Ask the URL: 2xx is passing, all else critical (also 429, which Consul calls warning)."""
    headers = [(name, value) for name, values in definition.header.items() for value in values]
    headers += _credentials(definition.http)
    request = http_request(
        definition.method or "GET",
        definition.http,
        headers=headers,
        content=definition.body or None,
    )
    return await probe_http(
        request,
        transports.get(verify=not definition.tls_skip_verify),
        expects=lambda status: 200 <= status <= 299,  # noqa: PLR2004 - the range of success
        max_bytes=definition.output_max_size,
    )


def _credentials(url: str) -> list[tuple[str, str]]:
    """Read `http://user:password@host/` as Go's HTTP client does."""
    parts = httpx.URL(url)
    if not parts.userinfo:
        return []
    given = f"{parts.username}:{parts.password}".encode()
    return [("Authorization", f"Basic {b64encode(given).decode()}")]
