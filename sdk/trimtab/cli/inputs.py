"""What people type: the options that several commands share, and texts read into values.

A wrong value is refused with an example of a right one.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the annotations are read at run time
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import CoercionError, Parameter

from trimtab.durations import parse_duration_s
from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cyclopts import Token

__all__ = [
    "DEFAULT",
    "LOCAL",
    "AboveZero",
    "Configured",
    "FromZero",
    "Json",
    "Positive",
    "Seconds",
    "Source",
    "Strategy",
    "Whole",
    "read_address",
    "read_header",
    "read_method",
    "read_pairs",
    "read_seconds",
    "read_target",
    "read_whole",
    "read_wholes",
]

_DEFAULT_REGISTRY = "consul://127.0.0.1:8500"
Json = Annotated[bool, Parameter(name="--json")]
Strategy = Annotated[str, Parameter(env_var="TRIMTAB_STRATEGY")]
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_MAX_PORT = 65535


def _above_zero(_: Any, value: float | None) -> None:
    # Written so that a NaN fails.
    if value is not None and not 0 < value < math.inf:
        raise ValueError("It must be above 0 and finite.")


def _not_negative(_: Any, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError("It must be 0 or more and finite.")


def read_seconds(_: Any, tokens: Sequence[Token]) -> float:
    """Read a duration: a number of seconds, or one with its unit, as 500ms or 1m30s."""
    text = tokens[0].value
    try:
        return float(text)
    except ValueError:
        with suppress(ValueError):
            return parse_duration_s(text)
    raise CoercionError(token=tokens[0], target_type=float)


def read_whole(_: Any, tokens: Sequence[Token]) -> int:
    """Read a whole number; cyclopts would round 1.5."""
    return read_wholes(_, tokens)[0]


def read_wholes(_: Any, tokens: Sequence[Token]) -> tuple[int, ...]:
    """Read whole numbers, for an option that may be repeated."""
    for token in tokens:
        if not _WHOLE.fullmatch(token.value.strip()):
            raise CoercionError(token=token, target_type=int)
    return tuple(int(token.value) for token in tokens)


def _at_least_one(_: Any, value: int) -> None:
    if value < 1:
        raise ValueError("It must be 1 or more.")


Whole = Annotated[int, Parameter(converter=read_whole)]
Positive = Annotated[int, Parameter(converter=read_whole, validator=_at_least_one)]


AboveZero = Annotated[float, Parameter(validator=_above_zero)]
Seconds = Annotated[float, Parameter(converter=read_seconds, validator=_above_zero)]
FromZero = Annotated[float, Parameter(converter=read_seconds, validator=_not_negative)]
"""Seconds, which may be 0."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Configured:
    """The options of every command.

    Attributes:
        config: A TOML file with settings; ./trimtab.toml if it exists.
    """

    config: Annotated[Path | None, Parameter(env_var="TRIMTAB_CONFIG")] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Source(Configured):
    """The options of every command that uses a registry.

    Attributes:
        registry: The registry's URL: consul://, etcd://, zk://, dns+srv://, dns+a://, eureka://,
            nacos://, kubernetes://, http(s)://, file:// or static://.
    """

    registry: Annotated[str, Parameter(env_var="TRIMTAB_REGISTRY")] = _DEFAULT_REGISTRY


DEFAULT = Configured()


LOCAL = Source()


def read_address(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, with brackets around an IPv6 address."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or not port.isdecimal() or (":" in host and bare == host):
        raise ConfigurationError(
            f"address {text!r}: write HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080"
        )
    if not 1 <= int(port) <= _MAX_PORT:
        raise ConfigurationError(f"address {text!r}: the port must be from 1 to {_MAX_PORT}")
    return bare, int(port)


def read_pairs(texts: Iterable[str]) -> dict[str, str]:
    """Read texts of the form `KEY=VALUE`."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise ConfigurationError(f"--meta {text!r}: write KEY=VALUE, such as version=7")
        if key in pairs:
            raise ConfigurationError(f"--meta {text!r}: {key!r} is given twice")
        pairs[key] = value
    return pairs


def read_header(text: str) -> tuple[str, str]:
    """Read `Name: value`. The value may be secret, so error messages omit it."""
    name, separator, value = text.partition(":")
    if not separator or not _TOKEN.fullmatch(name):
        shown = name if separator else "..."
        raise ConfigurationError(f"-H {shown!r}: write 'Name: value', such as 'Accept: text/plain'")
    value = value.strip()
    if not (value.isascii() and (not value or value.isprintable())):
        raise ConfigurationError(f"-H {name!r}: the value may have printable ASCII only")
    return name, value


def read_method(text: str) -> str:
    """Read an HTTP method."""
    if not _TOKEN.fullmatch(text):
        raise ConfigurationError(f"-X {text!r}: write a method, such as GET or POST")
    return text.upper()


def read_target(text: str) -> tuple[str, str]:
    """Read `SERVICE/PATH` or `http://SERVICE/PATH` into the service and the whole URL."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    if scheme not in {"http", "https"}:
        raise ConfigurationError(
            f"target {text!r}: the scheme is {scheme!r}; write SERVICE/PATH or http://SERVICE/PATH"
        )
    service = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not service or re.search(r"[\s:@\\]", service):
        raise ConfigurationError(
            f"target {text!r} names no service; write SERVICE/PATH, such as orders/items/7 "
            "(the registry knows hosts and ports)"
        )
    return service, f"{scheme}://{rest}"
