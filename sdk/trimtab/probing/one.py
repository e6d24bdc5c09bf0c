"""Carry out a check on an instance, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.probing.finding import Finding, bounded
from trimtab.probing.http import HttpClients, probe_http
from trimtab.probing.script import probe_script
from trimtab.probing.tcp import probe_tcp

if TYPE_CHECKING:
    from trimtab.check import Check
    from trimtab.instance import Instance

__all__ = ["probe"]


async def probe(check: Check, instance: Instance, clients: HttpClients) -> Finding:
    """Look at the instance once, within the check's `timeout_s`. Never raises."""
    look = _look(check, instance, clients)
    return await bounded(look, what=check.kind, timeout_s=check.timeout_s)


async def _look(check: Check, instance: Instance, clients: HttpClients) -> Finding:
    host, port = check.address(instance)
    if check.kind == "tcp":
        return await probe_tcp(host, port)
    if check.kind == "script":
        environment = {
            "TRIMTAB_INSTANCE_ID": instance.id,
            "TRIMTAB_HOST": host,
            "TRIMTAB_PORT": str(port),
        }
        return await probe_script(check.command, environment=environment)
    url = check.url(instance)
    # Loading the certificates of all authorities takes its time, and plain HTTP needs none.
    client = clients.get(verify=check.verify and url.startswith("https:"))
    return await probe_http(client.build_request("GET", url), client, expects=check.expects)
