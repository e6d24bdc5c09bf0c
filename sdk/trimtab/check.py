"""A check: how to find out whether an instance is healthy, over HTTP, TCP or by a script.

A check is a value. `trimtab.probing` runs it. `trimtab.health.probing` decides when to run it, and
when its results count. `trimtab.registration` passes it to a registry that runs checks itself.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = ["Check", "CheckKind"]

CheckKind = Literal["http", "tcp", "script"]

SUCCESS = "200-299"
"""The statuses that an HTTP check expects by default."""
_MAX_PORT = 65535
_FORM = "http[s]:[PORT]/PATH [STATUSES], tcp[:PORT] or script:COMMAND ARGUMENTS"
_HTTP = re.compile(r"(https?):([0-9]*)(/\S*)(?:\s+(\S+))?")
_TCP = re.compile(r"tcp(?::([0-9]+))?")
# Two slashes would name another host.
_PATH = re.compile(r"/(?!/)(?:(?!#)[!-~])*")
_STATUS = r"[1-5][0-9]{2}(?:-[1-5][0-9]{2})?"
_STATUSES = re.compile(f"{_STATUS}(?:,{_STATUS})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How to find out whether an instance is healthy, and after how many results.

    `http` requests a path and expects one of `statuses`. `tcp` opens a connection. `script` runs a
    command; its exit code 0 means passing, 1 warning, any other critical.

    With `timeout_s` up to `interval_s`, a fault is found after
    `(fall - 1) * interval_s + timeout_s` at the earliest and `fall * interval_s + timeout_s` at the
    latest.

    Args:
        kind: "http", "tcp" or "script".
        path: of the HTTP request, with its query; it begins with a slash.
        statuses: the HTTP statuses that pass, such as "200-299,304".
        scheme: "http" or "https"; by default the instance's own.
        port: such as a management port; by default the instance's own.
        verify: whether HTTPS checks the instance's certificate.
        command: the script's program and arguments; it runs without a shell. The variables
            TRIMTAB_INSTANCE_ID, TRIMTAB_HOST and TRIMTAB_PORT name the instance.
        interval_s: seconds from one probe's start to the next one's, above 0.
        timeout_s: seconds after which a probe has failed, above 0.
        rise, fall: how many probes in a row must pass, or fail, to change the verdict; at least 1.

    Raises:
        ConfigurationError: naming the field.
    """

    kind: CheckKind
    path: str = "/"
    statuses: str = SUCCESS
    scheme: str | None = None
    port: int | None = None
    verify: bool = True
    command: tuple[str, ...] = ()
    interval_s: float = 5.0
    timeout_s: float = 2.0
    rise: int = 2
    fall: int = 3
    _ranges: tuple[range, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "command", tuple(self.command))
        self._require("kind", self.kind in get_args(CheckKind), "'http', 'tcp' or 'script'")
        self._require("path", _is(_PATH, self.path), "a path in ASCII that begins with one slash")
        self._require("statuses", _are_statuses(self.statuses), "such as '200-299,304'")
        self._require("scheme", self.scheme in {None, "http", "https"}, "'http' or 'https'")
        self._require("port", _is_port(self.port), f"a whole number from 1 to {_MAX_PORT}")
        wanted = "a program and its arguments, for a script and nothing else"
        self._require("command", self._has_fit_command(), wanted)
        for name in ("interval_s", "timeout_s"):
            self._require(name, _is_positive(getattr(self, name)), "above 0 and finite")
        for name in ("rise", "fall"):
            self._require(name, _is_count(getattr(self, name)), "a whole number, 1 or more")
        object.__setattr__(self, "_ranges", tuple(_ranges(self.statuses)))

    @classmethod
    def parse(cls, text: str, **changes: Any) -> Self:
        """Read `http:/health`, `https:8081/health 200,204`, `tcp`, `tcp:9000`, `script:/a b`.

        `changes` are further fields, such as `interval_s`.

        Raises:
            ConfigurationError: it is none of these.
        """
        if text.startswith("script:"):
            return cls(kind="script", command=_words(text), **changes)
        if tcp := _TCP.fullmatch(text):
            return cls(kind="tcp", port=_port(tcp[1]), **changes)
        if http := _HTTP.fullmatch(text):
            scheme = "https" if http[1] == "https" else None
            statuses = http[4] or SUCCESS
            return cls(
                kind="http",
                path=http[3],
                statuses=statuses,
                scheme=scheme,
                port=_port(http[2]),
                **changes,
            )
        raise ConfigurationError(f"check {text!r}: write {_FORM}")

    def __str__(self) -> str:
        if self.kind == "script":
            return f"script:{shlex.join(self.command)}"
        port = "" if self.port is None else str(self.port)
        if self.kind == "tcp":
            return f"tcp:{port}" if port else "tcp"
        statuses = "" if self.statuses == SUCCESS else f" {self.statuses}"
        return f"{self.scheme or 'http'}:{port}{self.path}{statuses}"

    def with_(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, and check it again."""
        return replace(self, **changes)

    def expects(self, status: int) -> bool:
        """Return whether an HTTP status passes."""
        return any(status in each for each in self._ranges)

    def address(self, instance: Instance) -> tuple[str, int]:
        """Return the host and port to probe."""
        return instance.host, self.port or instance.port

    def url(self, instance: Instance) -> str:
        """Return the URL of an HTTP check, by default with the instance's scheme, host and port."""
        host, port = self.address(instance)
        in_brackets = f"[{host}]" if ":" in host else host
        return f"{self.scheme or instance.scheme or 'http'}://{in_brackets}:{port}{self.path}"

    def _has_fit_command(self) -> bool:
        if self.kind != "script":
            return not self.command
        words: tuple[object, ...] = self.command
        are_texts = all(isinstance(each, str) and "\0" not in each for each in words)
        return are_texts and bool(words and words[0])

    def _require(self, name: str, is_right: bool, wanted: str) -> None:  # noqa: FBT001 - the verdict
        if not is_right:
            raise ConfigurationError(
                f"check {self.kind!r}: {name} is {getattr(self, name)!r}; it must be {wanted}"
            )


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text.removeprefix("script:")))
    except ValueError as error:
        raise ConfigurationError(f"check {text!r}: {error}; write {_FORM}") from None


def _port(text: str | None) -> int | None:
    return int(text) if text else None


def _ranges(statuses: str) -> list[range]:
    bounds = (each.partition("-") for each in statuses.split(","))
    return [range(int(low), int(high or low) + 1) for low, _, high in bounds]


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _are_statuses(value: str) -> bool:
    return _is(_STATUSES, value) and all(_ranges(value))


def _is_port(value: object) -> bool:
    return value is None or (_is_count(value) and value <= _MAX_PORT)  # type: ignore[operator]


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_positive(value: object) -> bool:
    # Written so that a NaN fails.
    return type(value) in {int, float} and 0 < value < float("inf")  # type: ignore[operator]
