"""Probes of an instance over HTTP, TCP or by a script, within bounded time and output.

The embedded registry, registrations and clients all use these. `http` and `script` hold one kind of
probe each; `carrier` has TCP, chooses the kind, bounds the time (`probe`) and goes on (`repeat`).
When to probe, and what follows from the results, is decided in `trimtab.health.probing`.
"""

from __future__ import annotations

from trimtab.health.probing import ProbeCarrier, ProbeResult
from trimtab.probing.carrier import NetworkCarrier, bounded, probe, probe_tcp, repeat
from trimtab.probing.http import HttpTransports, http_request, probe_http
from trimtab.probing.script import probe_script

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
