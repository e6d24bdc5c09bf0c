"""Probes: one look at an instance over HTTP, TCP or by a script, within bounded time and output.

The embedded registry, registrations and clients all look through here. When to look, and what
to make of it, is decided elsewhere (`trimtab.health.probing`); `repeating` ties the two together.
"""

from __future__ import annotations

from trimtab.probing.finding import Finding, bounded
from trimtab.probing.http import HttpTransports, http_request, probe_http
from trimtab.probing.one import Look, NetworkLook, probe
from trimtab.probing.repeating import repeat
from trimtab.probing.script import probe_script
from trimtab.probing.tcp import probe_tcp

__all__ = [
    "Finding",
    "HttpTransports",
    "Look",
    "NetworkLook",
    "bounded",
    "http_request",
    "probe",
    "probe_http",
    "probe_script",
    "probe_tcp",
    "repeat",
]
