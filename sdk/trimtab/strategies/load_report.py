"""Load reports: read what an instance reports of its load in ORCA's `endpoint-load-metrics`.

Two forms are read; the third, base64 of a protobuf message, is ignored:

    endpoint-load-metrics: TEXT application_utilization=0.7, rps_fractional=120, eps=0.5
    endpoint-load-metrics: JSON {"cpu_utilization": 0.3, "rpsFractional": 10}

The first word may be missing; `endpoint-load-metrics-json` holds JSON. Source: gRPC A51; Envoy's
`orca_parser.cc`, which has colons in place of the equals signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LoadReport", "read_load_report"]

_HEADER = "endpoint-load-metrics"
_JSON_HEADER = "endpoint-load-metrics-json"
_MAX_LENGTH = 16_384
_CPU = ("cpu_utilization", "cpuUtilization")
_APPLICATION = ("application_utilization", "applicationUtilization")
_QPS = ("rps_fractional", "rpsFractional")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """An instance's load, over all its clients.

    Attributes:
        qps: queries per second.
        eps: errors per second.
        utilization: the busy share of the resource that limits it; above 1 when overloaded.
    """

    qps: float
    eps: float = 0.0
    utilization: float


def read_load_report(headers: Mapping[str, str]) -> LoadReport | None:
    """Return the load that a response's headers report; None without a valid report.

    The application's own utilization counts if it is above 0, else that of the CPU. It never
    raises, because a server's wrong header must not break a response.

    Args:
        headers: by lower-case name, or in any mapping that ignores case.
    """
    text, form = headers.get(_HEADER, ""), ""
    if not text:
        text, form = headers.get(_JSON_HEADER, ""), "JSON"
    word, _, rest = text.strip().partition(" ")
    if word.upper() in {"TEXT", "JSON", "BIN"}:
        form, text = word.upper(), rest
    if not text or len(text) > _MAX_LENGTH or form == "BIN":
        return None
    is_json = form == "JSON" or text.lstrip().startswith("{")
    return _report(_from_json(text) if is_json else _from_text(text))


def _report(metrics: Mapping[str, object]) -> LoadReport | None:
    try:
        application, cpu, qps, eps = (
            _number(metrics, names) for names in (_APPLICATION, _CPU, _QPS, ("eps",))
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return LoadReport(qps=qps, eps=eps, utilization=application or cpu)


def _number(metrics: Mapping[str, object], names: tuple[str, ...]) -> float:
    given = next((metrics[name] for name in names if name in metrics), 0.0)
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise TypeError(given)
    number = float(given)
    if not (isfinite(number) and number >= 0):
        raise ValueError(given)
    return number


def _from_json(text: str) -> Mapping[str, object]:
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return {"eps": None}


def _from_text(text: str) -> Mapping[str, object]:
    pairs = (part.replace(":", "=", 1).partition("=") for part in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs}
