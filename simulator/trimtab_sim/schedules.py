"""Draw small scenarios with faults and churn at random, for fuzzing.

A few servers and clients at low load, faults until `heal`, and then a period without faults that is
long enough for full recovery. Every draw shrinks towards less: fewer events, sooner, shorter, on
one server, with default settings.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import tomli_w
from hypothesis import strategies as st

from trimtab_sim.bounds import Bounds
from trimtab_sim.invariants import longest_exclusion_s
from trimtab_sim.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["scenarios"]

_HEAL_S = 60
_FIRST_S = 5
_MOST_EVENTS = 8
_MOST_SERVERS = 6
_CALM_S = 70.0
_DRAINED_S = 30.0
"""How long replacements and drains that began before the healing may last."""
_TIMED_OUT = {"failures": ["refused", "connect_timeout", "no_response", "timeout"]}
_SOON = {"interval_s": 1.0, "base_ejection_s": 2.0, "max_ejection_s": 10.0}
_FEW = {"success_rate_min_hosts": 2, "success_rate_min_requests": 5}
_LIMITED = {"max_pending": 100, "max_wait_s": 0.3}
_SETTINGS: dict[str, list[dict[str, Any] | float | None]] = {
    "retry": [
        None,
        {"max_attempts": 1, "max_refused": 1},
        {"max_attempts": 2, "max_refused": 3},
        _TIMED_OUT | {"max_attempts": 4, "statuses": [500, 503]},
        _TIMED_OUT | {"budget_ratio": 0.1, "budget_min_per_s": 0.0, "backoff_max_s": 3.0},
    ],
    "hedge": [
        None,
        {"after_s": 0.0},
        {"quantile": 0.5, "min_samples": 10, "min_s": 0.0},
        {"quantile": 0.95, "after_s": 0.1},
    ],
    "concurrency": [
        None,
        _LIMITED | {"max_in_flight": 1},
        _LIMITED | {"max_in_flight": 3, "adaptation": "aimd", "initial_in_flight": 2},
        _LIMITED | {"adaptation": "gradient"},
    ],
    "probe": [
        None,
        {"check": "http:/health", "interval_s": 4.0, "timeout_s": 0.5, "fall": 2, "rise": 2},
        {"check": "tcp", "interval_s": 5.0, "timeout_s": 1.0, "max_at_once": 1},
        {"interval_s": 4.0, "timeout_s": 1.0, "only_ejected": True},
    ],
    "deadline_s": [None, 0.5],
}
_OUTLIERS: list[dict[str, Any] | None] = [
    None,
    _SOON | _FEW | {"variant": "envoy", "consecutive_failures": 2, "max_ejected_ratio": 1.0},
    _SOON | {"variant": "envoy", "split_local": True, "always_eject_one": True},
    _SOON | _FEW | {"variant": "grpc_a50", "max_ejected_ratio": 0.5},
]
_SIDES = ("registry", "clients", "servers", "client:0", "server:0")


def scenarios(strategies: Sequence[str]) -> SearchStrategy[Scenario]:
    """Draw scenarios, balanced by one of the given strategies."""
    return _scenarios(tuple(strategies))


@st.composite
def _scenarios(draw: DrawFn, strategies: tuple[str, ...]) -> Scenario:
    servers = draw(st.integers(2, _MOST_SERVERS), label="servers")
    tree = {
        "scenario": {"duration": 1e6, "heal": _HEAL_S},
        "service": _service(draw, servers),
        "registry": _registry(draw),
        "network": {"latency": {"law": "constant", "mean": draw(st.sampled_from([0.0, 0.02]))}},
        "discovery": {"poll_interval_s": draw(st.sampled_from([1.0, 0.3, 5.0]))},
        "balancer": _balancer(draw, strategies),
        "clients": [_clients(draw)],
        "timeline": draw(_timeline(servers)),
        "churn": draw(_churn(servers)),
    }
    # First without an end: its own bounds say how long the scenario must last.
    endless = _read(tree)
    calm_s = (
        _DRAINED_S + Bounds(endless).after_recovery_s() + longest_exclusion_s(endless) + _CALM_S
    )
    return _read(tree | {"scenario": {"duration": _HEAL_S + round(calm_s), "heal": _HEAL_S}})


def _read(tree: dict[str, Any]) -> Scenario:
    return Scenario.from_toml(tomli_w.dumps(tree))


def _service(draw: DrawFn, servers: int) -> dict[str, Any]:
    weights = draw(st.sampled_from([(1.0,), (1.0, 3.0), (1.0, 0.0)]))
    groups = [{"count": 1, "weight": weights[number % len(weights)]} for number in range(servers)]
    service: dict[str, Any] = {
        "servers": servers if len(weights) == 1 else groups,
        "time": {"law": draw(st.sampled_from(["constant", "exponential"])), "mean": 0.005},
        "on_crash": draw(st.sampled_from(["lose", "finish"])),
    }
    if draw(st.booleans(), label="bounded queues"):
        service |= {"queue_limit": 50, "overflow": draw(st.sampled_from(["reject", "drop"]))}
    return service


def _registry(draw: DrawFn) -> dict[str, Any]:
    heartbeat = draw(st.sampled_from([2.0, 1.0, 4.0]), label="heartbeat")
    return {
        "mode": draw(st.sampled_from(["poll", "long_poll", "push"])),
        "heartbeat": heartbeat,
        "ttl": 3 * heartbeat,
        "sweep": draw(st.sampled_from([1.0, 3.0])),
        "propagation": {"law": "constant", "mean": draw(st.sampled_from([0.0, 0.5]))},
    }


def _balancer(draw: DrawFn, strategies: tuple[str, ...]) -> dict[str, Any]:
    table: dict[str, Any] = {"strategy": draw(st.sampled_from(strategies))}
    table |= draw(_RESILIENCE)
    return table


def _clients(draw: DrawFn) -> dict[str, Any]:
    return {
        "count": draw(st.integers(1, 2), label="clients"),
        "arrivals": {"kind": draw(st.sampled_from(["poisson", "constant"])), "rate": 5.0},
        "timeout": draw(st.sampled_from([1.0, 0.3])),
        "method": draw(st.sampled_from(["GET", "POST"])),
        "start": draw(st.sampled_from([0.0, 0.0, 20.0])),
    }


def _resilience() -> SearchStrategy[dict[str, Any]]:
    """The client's resilience settings: each a table or absent; absent is the simplest."""
    tables: dict[str, SearchStrategy[Any]] = {
        name: st.sampled_from(choices) for name, choices in _SETTINGS.items()
    }
    health = {
        "outliers": st.sampled_from(_OUTLIERS),
        "slow_start": st.sampled_from([None, {"window_s": 10.0}]),
    }
    tables["health"] = st.fixed_dictionaries(health).map(_given)
    # Half of all scenarios have default settings: more draws make the search longer.
    return st.one_of(st.just({}), st.fixed_dictionaries(tables).map(_given))


def _given(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value not in (None, {})}


_RESILIENCE = _resilience()


# Cached per number of servers: making strategies costs more than drawing from them.


@cache
def _timeline(servers: int) -> SearchStrategy[list[dict[str, Any]]]:
    moments = st.integers(_FIRST_S, _HEAL_S - 1).map(lambda at: {"at": float(at)})
    timed = st.tuples(moments, _action(servers)).map(lambda pair: pair[0] | pair[1])
    return st.lists(timed, max_size=_MOST_EVENTS)


@cache
def _churn(servers: int) -> SearchStrategy[list[dict[str, Any]]]:
    process = st.fixed_dictionaries(
        {
            "every": st.sampled_from([10.0, 3.0]),
            "do": _action(servers),
            "from": st.just(float(_FIRST_S)),
            "at_most": st.integers(1, 5),
        }
    )
    return st.lists(process, max_size=1)


@cache
def _action(servers: int) -> SearchStrategy[dict[str, Any]]:
    """One action; the first ones are the simplest."""
    lasting: SearchStrategy[dict[str, Any]] = st.one_of(
        st.integers(1, 40).map(lambda length: {"duration": float(length)}), st.just({})
    )
    targets = st.one_of(
        st.integers(1, servers).map(lambda count: {"targets": {"count": count}}),
        st.just({"targets": "all"}),
    )
    few = st.integers(1, max(1, servers // 2)).map(lambda count: {"targets": {"count": count}})
    pause = st.sampled_from([0.0, 1.0, 5.0])
    flag = st.booleans()
    return st.one_of(
        _table("crash", targets, lasting),
        _table("registry_outage", lasting, how=st.sampled_from(["refuse", "silent", "error"])),
        _table("registry_restart_empty"),
        _table("black_hole", targets, lasting, heartbeats=flag),
        _table("add", count=st.integers(1, 3), every=pause),
        _table("remove", few, drain=pause),
        _table(
            "replace",
            targets,
            every=pause,
            drain=pause,
            same_address=flag,
            order=st.sampled_from(["add_first", "remove_first"]),
        ),
        _table("refuse", targets, lasting),
        _table("hang", targets, lasting),
        _table("slow", targets, lasting, factor=st.sampled_from([2.0, 30.0])),
        _table("errors", targets, lasting, rate=st.sampled_from([1.0, 0.3])),
        _table("flap", targets, lasting, period=st.sampled_from([4.0, 15.0])),
        _table(
            "gray",
            targets,
            lasting,
            share=st.sampled_from([0.5, 0.1]),
            effect=st.sampled_from(["hang", "error", "slow"]),
        ),
        _partition(lasting),
        _table("registry_stale", lasting),
        _table(
            "registry_wrong", lasting, kind=st.sampled_from(["partial", "duplicate", "garbage"])
        ),
        _table("registry_clock_skew", lasting, offset_s=st.sampled_from([-10.0, 5.0, 60.0])),
        _table("load", st.just({"duration": 10.0}), factor=st.sampled_from([2.0, 0.5])),
    )


def _partition(lasting: SearchStrategy[dict[str, Any]]) -> SearchStrategy[dict[str, Any]]:
    sides = st.sampled_from(_SIDES)
    return _table("partition", lasting, both_ways=st.booleans(), **{"from": sides, "to": sides})


def _table(
    action: str, *parts: SearchStrategy[dict[str, Any]], **fields: SearchStrategy[Any]
) -> SearchStrategy[dict[str, Any]]:
    own = st.fixed_dictionaries({"action": st.just(action), **fields})
    return st.tuples(own, *parts).map(lambda tables: {k: v for t in tables for k, v in t.items()})
