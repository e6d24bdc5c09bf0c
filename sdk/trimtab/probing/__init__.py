"""Probes of an instance over HTTP, TCP or by a script, within bounded time and output.

The embedded registry, registrations and clients all use these. When to probe, and what follows
from the results, is decided in `trimtab.health.probing`; `repeating` ties the two together.
"""

from __future__ import annotations

from trimtab.health.probing import ProbeCarrier, ProbeResult
from trimtab.probing.bounded import bounded
from trimtab.probing.http import HttpTransports, http_request, probe_http
from trimtab.probing.one import NetworkCarrier, probe
from trimtab.probing.repeating import repeat
from trimtab.probing.script import probe_script
from trimtab.probing.tcp import probe_tcp

__all__ = [
    "HttpTransports",
    "NetworkCarrier",
    "ProbeCarrier",
    "ProbeResult",
    "bounded",
    "http_request",
    "probe",
    "probe_http",
    "probe_script",
    "probe_tcp",
    "repeat",
]
