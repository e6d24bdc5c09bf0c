"""Consul's settings: where the agents are, what is asked, and how lists are followed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from trimtab.errors import ConfigurationError
from trimtab.hiding import shown
from trimtab.registries.members import MemberSettings, tls_if_secure
from trimtab.registries.urls import (
    TLS_OPTIONS,
    above_zero,
    credentials,
    duration_s,
    flag,
    path_of,
    places_of,
    split_options,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Consistency", "ConsulSettings", "Follow"]

Consistency = Literal["default", "stale", "consistent"]
Follow = Literal["watch", "poll", "prepared"]

_CONSISTENCIES = ("default", "stale", "consistent")
_PORTS = {"consul": 8500, "consul+https": 8501}
_OPTIONS = (
    *("dc", "tag", "near", "filter", "token", "passing", "stale", "consistent"),
    *("poll", "prepared", "scripts", "wait", "watches"),
)
# A prepared query settles some options itself; others are for held questions only.
_NOT_PREPARED = ("tag", "filter", "passing", "poll", "scripts", "wait", "watches")
_NOT_POLLED = ("wait", "watches")
_MAX_WAIT_S = 60.0
_LEAST_DEREGISTER_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsulSettings(MemberSettings):
    """How Consul is asked; see `MemberSettings` for the rest.

    Attributes:
        follow: "watch" has questions held until the list changes, "poll" asks without holding,
            "prepared" takes a service's name for that of a prepared query.
        token: the ACL token; needs service:read and node:read. Environment variables are not
            read: pass `os.environ["CONSUL_HTTP_TOKEN"]` if the token is there.
        datacenter: another than the agent's own.
        tags: instances must have all of them; they are also given to what is registered here.
        near: "_agent" or a node: instances sorted by distance from it.
        only_passing: let Consul leave out the others; better leave them in, and see them.
        filter_: an expression of Consul's filter language.
        consistency: "stale" reads from any server, also without a leader; "consistent" asks
            the leader to verify that it is one.
        max_stale_s: refuse a stale answer whose server has not heard its leader for longer.
        timeout_s: bound on a question that is not held. Without a leader Consul holds it for 7 s.
        wait_s: how long Consul may hold a question while nothing changes; more than 0, at most
            60: a question that its client abandoned stays in the server for so long.
        max_watches: how many questions may be held at a time, 1 or more; with all the processes
            of this machine together they must stay below Consul's http_max_conns_per_client.
        deregister_after_s: Consul drops a registration that has been critical for so long; at
            least 60, and it looks every 30 s; None means never.
        scripts: whether the agent runs scripts (`enable_script_checks`); if not, an instance's
            script check is left to its own process.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    follow: Follow = "watch"
    token: str | None = field(default=None, repr=False)
    datacenter: str | None = None
    tags: tuple[str, ...] = ()
    near: str | None = None
    only_passing: bool = False
    filter_: str | None = None
    consistency: Consistency = "default"
    max_stale_s: float = 30.0
    timeout_s: float = 8.0
    wait_s: float = 30.0
    max_watches: int = 128
    deregister_after_s: float | None = 600.0
    scripts: bool = False

    def __post_init__(self) -> None:
        above_zero(self, "timeout_s")
        if self.consistency not in _CONSISTENCIES:
            raise ConfigurationError(
                f"{self.url}: consistency is {self.consistency!r}; "
                f"it must be one of {', '.join(_CONSISTENCIES)}"
            )
        self._check_following()
        after_s = self.deregister_after_s
        if after_s is not None and not after_s >= _LEAST_DEREGISTER_S:
            raise ConfigurationError(
                f"{self.url}: deregister_after_s is {after_s!r}; Consul waits at least 60; "
                "None means never"
            )

    @classmethod
    def from_url(cls, url: str) -> ConsulSettings:
        """Read `consul://host:port[,host:port...]/prefix` or `consul+https://`, with options.

        Raises:
            ConfigurationError: an option is unknown, wrong, or excludes another.
        """
        base, options = split_options(url, known=(*_OPTIONS, *TLS_OPTIONS), repeatable=("tag",))
        scheme, places, path = _agents(base)
        tls = tls_if_secure(base, options)
        first = {name: values[0] for name, values in options.items()}
        return cls(
            url=f"{scheme}://{','.join(places)}{path}",
            bases=tuple(dict.fromkeys(f"http{'s' * bool(tls)}://{each}{path}" for each in places)),
            tls=tls,
            follow=_follow(url, options),
            token=first.get("token"),
            datacenter=first.get("dc"),
            tags=tuple(options.get("tag", ())),
            near=first.get("near"),
            only_passing=flag(url, options, "passing"),
            filter_=first.get("filter"),
            consistency=_consistency(url, options),
            wait_s=duration_s(url, options, "wait", 30.0),
            max_watches=_count(url, first.get("watches", "128")),
            scripts=flag(url, options, "scripts"),
        )

    @property
    def is_stale(self) -> bool:
        """Whether any server may answer, also one without a leader."""
        return self.consistency == "stale"

    def name_of(self, base: str) -> str:
        """Return how messages name the agent at a base URL."""
        return f"consul{base.removeprefix('http').replace('s:', '+https:', 1)}"

    def whole(self) -> list[tuple[str, str]]:
        """Return the parameters that leave nothing out of a list."""
        mode = [] if self.consistency == "default" else [(self.consistency, "")]
        return mode + ([("dc", self.datacenter)] if self.datacenter else [])

    def sorted_(self) -> list[tuple[str, str]]:
        """Return the parameters of `whole`, and the node to sort by distance from."""
        return self.whole() + ([("near", self.near)] if self.near else [])

    def narrowed(self) -> list[tuple[str, str]]:
        """Return all parameters of a list."""
        return [
            *self.whole(),
            *(("tag", tag) for tag in self.tags),
            *([("near", self.near)] if self.near else []),
            *([("filter", self.filter_)] if self.filter_ else []),
            *([("passing", "1")] if self.only_passing else []),
        ]

    def _check_following(self) -> None:
        if not 0 < self.wait_s <= _MAX_WAIT_S:
            raise ConfigurationError(
                f"{self.url}: wait_s is {self.wait_s!r}; it must be more than 0 and at most 60"
            )
        if not self.max_watches >= 1:
            raise ConfigurationError(
                f"{self.url}: max_watches is {self.max_watches!r}; it must be 1 or more (or use "
                "poll)"
            )
        if self.follow == "prepared":
            for name in ("tags", "filter_", "only_passing"):
                if getattr(self, name):
                    raise ConfigurationError(
                        f"{self.url}: {name} cannot be combined with a prepared query, which "
                        "chooses its instances itself"
                    )


def _agents(url: str) -> tuple[str, list[str], str]:
    """Read the scheme, the agents' places, and the prefix of all paths."""
    scheme = url.partition("://")[0]
    if scheme not in _PORTS or "#" in url:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write consul://host:port or consul+https://host:port"
        )
    if credentials(url):
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: Consul has no user and password; use ?token="
        )
    places = places_of(url, default_port=_PORTS[scheme])
    return scheme, places, path_of(url).rstrip("/")


def _follow(url: str, options: Mapping[str, list[str]]) -> Follow:
    if flag(url, options, "prepared"):
        why = "prepared, since the query chooses its instances itself"
        _refuse(url, options, _NOT_PREPARED, why)
        return "prepared"
    if flag(url, options, "poll"):
        _refuse(url, options, _NOT_POLLED, "poll, since no question is held then")
        return "poll"
    return "watch"


def _refuse(url: str, options: Mapping[str, list[str]], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if name in options:
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: {name} cannot be combined with {why}"
            )


def _consistency(url: str, options: Mapping[str, list[str]]) -> Consistency:
    stale, consistent = flag(url, options, "stale"), flag(url, options, "consistent")
    if stale and consistent:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: stale and consistent exclude each other"
        )
    return "stale" if stale else "consistent" if consistent else "default"


def _count(url: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigurationError(f"registry URL {shown(url)!r}: watches={text!r} is no number")
    return int(text)
