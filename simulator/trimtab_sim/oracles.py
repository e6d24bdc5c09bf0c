"""Closed forms of queueing theory that the simulator must reproduce, each with its source.

Times are in the unit of the arguments; with a service mean of 1 (the default) they are in
service means. `load` is the utilization of one server, 0 up to but not including 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Survival: TypeAlias = "Callable[[float], float]"

__all__ = [
    "active_check_bounds",
    "all_converged_mean",
    "crash_view_bound",
    "crash_view_mean",
    "erlang_c",
    "hedged_load",
    "hedged_survival",
    "littles_law",
    "mean_of",
    "mg1_mean",
    "mixture_survival",
    "mm1_mean",
    "mm1_quantile",
    "mmc_mean",
    "poll_staleness_max",
    "poll_staleness_mean",
    "quantile_of",
    "supermarket_mean",
]

_SMALL = 1e-18


def mm1_mean(load: float, *, service: float = 1.0) -> float:
    """Return the mean time in an M/M/1 system, waiting and service.

    It also holds for n such servers under random balancing of Poisson arrivals.
    Source: `1 / (1 - load)`, Kleinrock I, 3.2.
    """
    return service / (1 - _checked(load))


def mm1_quantile(load: float, q: float, *, service: float = 1.0) -> float:
    """Return a quantile (0 to 1) of the time in an M/M/1 system under FIFO.

    Source: the time is exponential with the mean above.
    """
    return -math.log1p(-q) * mm1_mean(load, service=service)


def erlang_c(servers: int, load: float) -> float:
    """Return the probability that an arrival must wait in M/M/c.

    Source: Erlang 1917; by the recursion of Erlang B, which does not overflow.
    """
    offered = servers * _checked(load)
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - load * (1 - blocked))


def mmc_mean(servers: int, load: float, *, service: float = 1.0) -> float:
    """Return the mean time in an M/M/c system: one queue for all servers, the ideal of balancing.

    Source: Erlang C.
    """
    return service * (1 + erlang_c(servers, load) / (servers * (1 - load)))


def mg1_mean(load: float, cv2: float, *, service: float = 1.0) -> float:
    """Return the mean time in M/G/1 under FIFO; `cv2` is the law's.

    Source: Pollaczek 1930, Khinchine 1932: `1 + load * (1 + cv2) / (2 * (1 - load))`.
    """
    return service * (1 + _checked(load) * (1 + cv2) / (2 * (1 - load)))


def supermarket_mean(load: float, choices: int, *, service: float = 1.0) -> float:
    """Return the mean time when each request joins the shortest of `choices` queues at random.

    For very many servers; with ten servers and load 0.8 the exact value for two distinct
    choices is 2.074, and this gives 1.947.
    Source: Mitzenmacher 1996, Vvedenskaya et al. 1996:
    `sum over i >= 1 of load ** ((d ** i - d) / (d - 1))`.
    """
    if choices < 2:  # noqa: PLR2004 - with one choice the sum is geometric
        return mm1_mean(load, service=service)
    _checked(load)
    total, i = 0.0, 1
    while (term := load ** ((choices**i - choices) / (choices - 1))) > _SMALL:
        total += term
        i += 1
    return service * total


def littles_law(rate: float, mean_time: float) -> float:
    """Return the mean number in a system. Source: Little 1961, `L = lambda * W`."""
    return rate * mean_time


def poll_staleness_mean(period: float, jitter_ratio: float = 0.0) -> float:
    """Return the mean age of a list that is polled, as seen at a random moment.

    Source: the mean residual life `E[X^2] / (2 E[X])` of an interval that is uniform within
    `period * (1 - j)` to `period * (1 + j)`.
    """
    return period * (1 + jitter_ratio**2 / 3) / 2


def poll_staleness_max(period: float, jitter_ratio: float = 0.0, *, rtt: float = 0.0) -> float:
    """Return the greatest age of a list that is polled: one long interval and the poll itself."""
    return period * (1 + jitter_ratio) + rtt


def all_converged_mean(period: float, clients: int) -> float:
    """Return the mean time until the last of `clients` has polled, phases being independent.

    Source: the largest of N uniform numbers has the mean `N / (N + 1)`.
    """
    return period * clients / (clients + 1)


def crash_view_bound(
    *, ttl: float, sweep: float, poll: float, jitter_ratio: float = 0.0, rtt: float = 0.0
) -> float:
    """Return the longest time from a crash until every view has dropped the instance.

    The lease was renewed at the very moment of the crash, lapsed just after a sweep, and was
    swept just after a poll.
    """
    return ttl + sweep + poll_staleness_max(poll, jitter_ratio, rtt=rtt)


def crash_view_mean(*, heartbeat: float, ttl: float, sweep: float, poll: float) -> float:
    """Return the mean time from a crash until a view has dropped the instance.

    The last heartbeat lies half an interval back; the sweep and the poll take half of theirs.
    """
    return ttl - heartbeat / 2 + sweep / 2 + poll / 2


def active_check_bounds(*, interval: float, timeout: float, fall: int) -> tuple[float, float]:
    """Return the shortest and longest time in which `fall` failed checks find a silent death."""
    return (fall - 1) * interval + timeout, fall * interval + timeout


def mixture_survival(branches: Iterable[tuple[float, float]]) -> Survival:
    """Return P(X > t) of a mixture of exponentials: (probability, mean) each."""
    parts = tuple(branches)
    return lambda t: sum(p * math.exp(-t / mean) for p, mean in parts) if t > 0 else 1.0


def hedged_survival(survival: Survival, after: float) -> Survival:
    """Return P(T > t) when a second attempt starts at `after` unless the first has answered.

    Attempts are independent and the servers idle enough for the added load not to matter.
    Source: Dean, Barroso 2013, "The Tail at Scale".
    """
    return lambda t: survival(t) if t < after else survival(t) * survival(t - after)


def hedged_load(survival: Survival, after: float) -> float:
    """Return the number of attempts per request: one, and one more when `after` is passed."""
    return 1 + survival(after)


def quantile_of(survival: Survival, q: float) -> float:
    """Find the quantile `q` (0 to 1, not 1) of a time by bisection."""
    low, high, rest = 0.0, 1.0, 1 - q
    while survival(high) > rest:
        low, high = high, high * 2
    while (middle := (low + high) / 2) not in {low, high}:
        low, high = (middle, high) if survival(middle) > rest else (low, middle)
    return high


def mean_of(survival: Survival, *, until_share: float = 1 - 1e-12, steps: int = 40_000) -> float:
    """Integrate P(T > t): the mean. The midpoint rule up to a far quantile."""
    width = quantile_of(survival, until_share) / steps
    return math.fsum(survival((step + 0.5) * width) for step in range(steps)) * width


def _checked(load: float) -> float:
    if not 0 <= load < 1:
        raise ValueError(f"the load is {load}; it must lie in 0 <= load < 1 for a steady state")
    return load
