"""Carry out a check on an instance, once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trimtab.probing.bounded import bounded
from trimtab.probing.http import HttpTransports, http_request, probe_http
from trimtab.probing.script import probe_script
from trimtab.probing.tcp import probe_tcp

if TYPE_CHECKING:
    import ssl

    from trimtab.check import Check
    from trimtab.health.probing import ProbeCarrier, ProbeResult
    from trimtab.instance import Instance

__all__ = ["NetworkCarrier", "probe"]


async def probe(check: Check, instance: Instance, carrier: ProbeCarrier) -> ProbeResult:
    """Probe the instance once, within the check's `timeout_s`. Never raises."""
    carry_out = partial(carrier, check, instance)
    return await bounded(carry_out, what=check.kind, timeout_s=check.timeout_s)


class NetworkCarrier:
    """Probes over the network, and by commands on this machine. Belongs to one event loop.

    Args:
        context: what HTTPS certificates are checked by, and which one is shown.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._transports = HttpTransports(context)

    async def __call__(self, check: Check, instance: Instance) -> ProbeResult:
        """Probe once.

        Raises:
            Exception: whatever went wrong; the instance is critical then.
        """
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
        transport = self._transports.get(verify=check.verify and url.startswith("https:"))
        return await probe_http(http_request("GET", url), transport, expects=check.expects)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transports.aclose()
