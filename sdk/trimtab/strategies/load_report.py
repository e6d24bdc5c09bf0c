"""Load reports: what an instance says of its own load, in ORCA's `endpoint-load-metrics`.

A client asks with the request header `endpoint-load-metrics-format`. The response's header has one
of three forms; the first word may be missing, and `endpoint-load-metrics-json` holds JSON:

    endpoint-load-metrics: TEXT application_utilization=0.7, rps_fractional=120, eps=0.5
    endpoint-load-metrics: JSON {"cpu_utilization": 0.3, "named_metrics": {"queue": 4}}
    endpoint-load-metrics: BIN <base64 of the protobuf message xds.data.orca.v3.OrcaLoadReport>

Source: gRPC A51; Envoy's `orca_parser.cc`, which has colons in place of the equals signs; the
message of `orca_load_report.proto`. It has three kinds of fields, so it is read here: the library
of protobuf is larger than this package.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, field
from math import isfinite
from struct import unpack_from
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ASK_HEADER", "LOAD_PATH", "REPORT_HEADER", "LoadReport", "read_load_report"]

ASK_HEADER = "endpoint-load-metrics-format"
"""The request header that asks for a report; its value is the form, such as TEXT."""
REPORT_HEADER = "endpoint-load-metrics"
"""The response header with the report."""
LOAD_PATH = "/.well-known/trimtab-load"
"""Where this package's middleware answers with a report and nothing else."""
_JSON_HEADER = "endpoint-load-metrics-json"
_MAX_LENGTH = 16_384
_MAX_NAMED = 100
_CPU = ("cpu_utilization", "cpuUtilization")
_APPLICATION = ("application_utilization", "applicationUtilization")
_QPS = ("rps_fractional", "rpsFractional")
_NAMED = ("named_metrics", "namedMetrics")
_NAMED_PREFIX = "named_metrics."
_IN_FLIGHT = "requests_in_flight"
_VLLM_QUEUE = ("num_requests_waiting", "num_requests_running")
_VLLM_MEMORY = "kv_cache_usage_perc"

# The wire's kinds of fields, and the numbers of the message's fields that are read.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DOUBLES = {1: "cpu_utilization", 6: "rps_fractional", 7: "eps", 9: "application_utilization"}
_NAMED_FIELD, _KEY, _VALUE = 8, 1, 2
_MAX_VARINT_BITS = 63
_GOES_ON = 0x80

_Metrics: TypeAlias = "dict[str, object]"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """An instance's load, over all its clients.

    Attributes:
        qps: queries per second; 0: it does not say.
        eps: errors per second.
        utilization: the busy share of the resource that limits it; above 1 when overloaded; 0: it
            does not say, or is idle.
        in_flight: requests that it works on or that wait there; None: it does not say.
        named_metrics: the metrics of its own, by name.
    """

    qps: float
    eps: float = 0.0
    utilization: float
    in_flight: float | None = None
    named_metrics: Mapping[str, float] = field(default_factory=dict)


def read_load_report(headers: Mapping[str, str]) -> LoadReport | None:
    """Return the load that a response's headers report; None without a valid report.

    As utilization the application's own counts if it is above 0, else that of the CPU, else the
    named metric `kv_cache_usage_perc`. As requests in flight the named metric
    `requests_in_flight` counts, which this package's middleware reports, else
    `num_requests_waiting` and `num_requests_running` together. (vLLM reports the other names.)

    It never raises, because a server's wrong header must not break a response. O(length), at most
    16,384 characters with 100 named metrics; what exceeds that is no report.

    Args:
        headers: by lower-case name, or in any mapping that ignores case.
    """
    text, form = headers.get(REPORT_HEADER, ""), ""
    if not text:
        text, form = headers.get(_JSON_HEADER, ""), "JSON"
    if not text or len(text) > _MAX_LENGTH:
        return None
    word, _, rest = text.strip().partition(" ")
    if word.upper() in {"TEXT", "JSON", "BIN"}:
        form, text = word.upper(), rest
    try:
        if form == "BIN":
            return _report(_from_binary(text))
        is_json = form == "JSON" or text.lstrip().startswith("{")
        return _report(_from_json(text) if is_json else _from_text(text)) if text else None
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.DecodeError):
        return None


def _report(metrics: Mapping[str, object]) -> LoadReport:
    application, cpu, qps, eps = (
        _number(metrics, names) for names in (_APPLICATION, _CPU, _QPS, ("eps",))
    )
    named = _named(metrics)
    return LoadReport(
        qps=qps,
        eps=eps,
        utilization=application or cpu or named.get(_VLLM_MEMORY, 0.0),
        in_flight=_in_flight(named),
        named_metrics=named,
    )


def _in_flight(named: Mapping[str, float]) -> float | None:
    if _IN_FLIGHT in named:
        return named[_IN_FLIGHT]
    known = [named[name] for name in _VLLM_QUEUE if name in named]
    return sum(known) if known else None


def _named(metrics: Mapping[str, object]) -> dict[str, float]:
    """Return the named metrics; those that are no usable number are left out."""
    given = next((metrics[name] for name in _NAMED if name in metrics), {})
    pairs = list(given.items()) if isinstance(given, dict) else []
    pairs += [
        (name.removeprefix(_NAMED_PREFIX), each)
        for name, each in metrics.items()
        if name.startswith(_NAMED_PREFIX)
    ]
    if len(pairs) > _MAX_NAMED:
        raise ValueError(len(pairs))
    named = {}
    for name, each in pairs:
        try:
            named[name] = _checked(each)
        except (ValueError, TypeError, OverflowError):
            continue
    return named


def _number(metrics: Mapping[str, object], names: tuple[str, ...]) -> float:
    return _checked(next((metrics[name] for name in names if name in metrics), 0.0))


def _checked(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise TypeError(given)
    number = float(given)
    if not (isfinite(number) and number >= 0):
        raise ValueError(given)
    return number


# -- the three forms -----------------------------------------------------------------------------


def _from_json(text: str) -> _Metrics:
    return msgspec.json.decode(text, type=dict[str, object])


def _from_text(text: str) -> _Metrics:
    pairs = (part.replace(":", "=", 1).partition("=") for part in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _from_binary(text: str) -> _Metrics:
    """Read a message in base64, with its padding or without."""
    text = text.strip().rstrip("=")
    message = b64decode(text + "=" * (-len(text) % 4), validate=True)
    metrics: _Metrics = {}
    named: dict[str, object] = {}
    for number, value in _fields(message):
        if number == _NAMED_FIELD and isinstance(value, bytes):
            if len(named) > _MAX_NAMED:
                break
            entry = dict(_fields(value))
            name = entry.get(_KEY, b"")
            if isinstance(name, bytes):
                named[name.decode()] = entry.get(_VALUE, 0.0)
        elif number in _DOUBLES:
            metrics[_DOUBLES[number]] = value
    return metrics | {_NAMED[0]: named}


def _fields(message: bytes) -> Iterator[tuple[int, float | bytes]]:
    """Yield each field's number and value: a double, or bytes; other kinds are passed over.

    Raises:
        ValueError: the message ends within a field, or has an unknown kind of field.
    """
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        start, length = place, 8 if kind == _FIXED64 else 4
        if kind == _VARINT:
            _, place = _varint(message, place)
            continue
        if kind == _BYTES:
            length, start = _varint(message, place)
        elif kind not in {_FIXED64, _FIXED32}:
            raise ValueError(kind)
        place = start + length
        if place > len(message):
            raise ValueError(place)
        if kind == _FIXED64:
            yield number, unpack_from("<d", message, start)[0]
        elif kind == _BYTES:
            yield number, message[start:place]


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place after it."""
    value = 0
    for shift in range(0, _MAX_VARINT_BITS + 1, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte % _GOES_ON) << shift
        if byte < _GOES_ON:
            return value, place
    raise ValueError(place)
