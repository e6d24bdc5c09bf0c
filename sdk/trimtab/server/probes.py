"""Active health checks: one look at an instance over HTTP, TCP or by a script."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

import httpx

if TYPE_CHECKING:
    from trimtab.server.definitions import CheckDefinition

__all__ = ["Finding", "HttpClients", "look"]

_TIMEOUT_S = 10.0
_SCRIPT_TIMEOUT_S = 30.0
_SCRIPT_STATUS = {0: "passing", 1: "warning"}
_CHUNK = 4096


class Finding(NamedTuple):
    """What a look found: passing, warning or critical, and a text for people."""

    status: str
    output: str


class HttpClients:
    """The two clients that HTTP checks share, with and without certificate checks."""

    def __init__(self) -> None:
        self._clients: dict[bool, httpx.AsyncClient] = {}

    def get(self, *, verify: bool) -> httpx.AsyncClient:
        """Give the client, made at first use."""
        if verify not in self._clients:
            self._clients[verify] = httpx.AsyncClient(
                verify=verify,
                trust_env=False,
                follow_redirects=True,
                # A check shall find out whether a *new* connection works.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                headers={"User-Agent": "Trimtab Health Check", "Accept": "text/plain, */*"},
            )
        return self._clients[verify]

    async def aclose(self) -> None:
        """Close both."""
        for client in self._clients.values():
            await client.aclose()


async def look(definition: CheckDefinition, clients: HttpClients) -> Finding:
    """Look once, within the check's timeout (default 10 s, a script 30 s). Never raises."""
    timeout_s = definition.timeout_s or (
        _SCRIPT_TIMEOUT_S if definition.type == "script" else _TIMEOUT_S
    )
    try:
        async with asyncio.timeout(timeout_s):
            if definition.type == "http":
                return await _look_by_http(definition, clients)
            if definition.type == "tcp":
                return await _look_by_tcp(definition.tcp)
            return await _look_by_script(definition)
    except TimeoutError:
        return Finding("critical", f"{definition.type} check timed out after {timeout_s:g} s")
    except Exception as error:  # noqa: BLE001 - whatever hinders the look, the check fails
        return Finding("critical", f"{type(error).__name__}: {error}")


async def _look_by_http(definition: CheckDefinition, clients: HttpClients) -> Finding:
    """Ask the URL: 2xx is passing, all else critical (also 429, which Consul calls warning)."""
    method = definition.method or "GET"
    async with clients.get(verify=not definition.tls_skip_verify).stream(
        method,
        definition.http,
        headers=[(name, value) for name, values in definition.header.items() for value in values],
        content=definition.body or None,
        timeout=None,  # the caller's timeout bounds all of it
    ) as response:
        body = b""
        async for chunk in response.aiter_bytes(_CHUNK):
            body += chunk
            if len(body) >= definition.output_max_size:
                break
    text = body[: definition.output_max_size].decode(errors="replace")
    return Finding(
        "passing" if response.is_success else "critical",
        f"HTTP {method} {definition.http}: {response.status_code} {response.reason_phrase} "
        f"Output: {text}",
    )


async def _look_by_tcp(address: str) -> Finding:
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Finding("passing", f"TCP connect {address}: Success")


async def _look_by_script(definition: CheckDefinition) -> Finding:
    """Run the command: exit code 0 is passing, 1 warning, all else critical."""
    process = await asyncio.create_subprocess_exec(
        *definition.args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        output = b""
        while chunk := await process.stdout.read(_CHUNK):
            output = (output + chunk)[: definition.output_max_size]
        code = await process.wait()
    finally:
        if process.returncode is None:
            # The whole group: the command may have started others.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Finding(_SCRIPT_STATUS.get(code, "critical"), output.decode(errors="replace"))
