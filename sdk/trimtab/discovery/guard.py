"""Which instances of an answer are used: those that are permitted, and those whose loss is doubted.

`Admission` checks the number of instances and their addresses. `LossGuard` doubts lists that have
suddenly lost instances.

A registry that was restarted without its memory, was frozen, or is half partitioned, answers at
once and wrongly: with no instances, with the few that have registered again so far, or with all
of them critical because their heartbeats are missing. Such an answer looks like many deaths.

The rule: an *alarm* is a failure, a reset, a lost cursor, or more than half of the instances gone
in one answer. It starts a time of `grace_s` in which no instance is lost: an instance that is
missing or has turned critical stays in use as it was, and every other change counts at once.
After that time, a fresh read is believed, with one exception: an instance that still answers
requests or probes of this program stays in use for as long as it does, at most `doubt_max_s`. A
registry that has lost its memory lists the instances again as they register again, which may take
longer than `grace_s`.

Without an alarm, the loss of up to a half counts at once. So does, at any time, a change that
somebody makes on purpose: draining, or a weight of 0. Only instances that turn critical stay in
use for a moment: a registry that was held up finds one lease after another expired when it goes
on, and takes that back as soon as it has read the heartbeats that were waiting (Consul, frozen
for 20 s: six instances critical within 30 ms, and all passing again 32 ms later).

*Every* sudden loss of more than half is doubted, not only those after trouble. If the loss is
real, this costs little: a request that meets a dead instance goes on to the next, and an
announced departure is no loss. If it is not, it keeps the service available.

Source: Dubbo's empty protection, Eureka's self-preservation, Kratos; deviation: the doubted
instances are kept beside the new ones, and their loss is confirmed instead of refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trimtab.errors import RegistryAnswerError
from trimtab.health import reason_against
from trimtab.instance import Status
from trimtab.networks import NetworkPolicy
from trimtab.registries.entries import Complaints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trimtab.discovery.settings import DiscoverySettings
    from trimtab.instance import Instance

__all__ = ["MOST_RENEWALS", "Admission", "LossGuard"]

_MOST_NAMED = 100
_SETTLE_S = 0.5
"""How long instances that turned critical stay in use, to see whether others turn critical too."""

MOST_RENEWALS = 5
"""How often an alarm may start the time again while an instance is kept. A registry that fails now
and then for ever must not keep dead instances for ever."""


class Admission:
    """Checks each list of one service, from a registry or from disk.

    An instance at an address that the settings do not permit is left out, and named in the log
    once. A host name is permitted here: the address that it resolves to is checked when a client
    connects to it.

    Args:
        place: how messages name the registry.
        service: the service's name.
        settings: `max_instances` and `allow_networks` are used.
    """

    def __init__(self, place: str, service: str, settings: DiscoverySettings) -> None:
        self._place = f"{place}: {service!r}"
        self._service = service
        self._policy = NetworkPolicy(settings.allow_networks)
        self._max_instances = settings.max_instances
        self._complaints = Complaints()
        self._refusals: dict[str, str | None] = {}

    def permitted(self, instances: tuple[Instance, ...]) -> tuple[Instance, ...]:
        """Return the instances that may be called.

        Raises:
            RegistryAnswerError: there are too many instances, or no address is permitted.
        """
        if len(instances) > self._max_instances:
            raise RegistryAnswerError(
                f"{self._place}: {len(instances)} instances are more than max_instances, "
                f"{self._max_instances}; raise it if so many are right"
            )
        self._check(instances)
        refused = [each for each in instances if self._refusals[each.host]]
        if not refused:
            self._complaints.about(self._service, ())
            return instances
        messages = tuple(map(self._message, refused[:_MOST_NAMED]))
        if len(refused) == len(instances):
            raise RegistryAnswerError(f"{messages[0]} (and no other instance is permitted)")
        if len(refused) > _MOST_NAMED:
            messages += (f"{self._place}: {len(refused)} instances are refused in all",)
        self._complaints.about(self._service, messages)
        return tuple(each for each in instances if not self._refusals[each.host])

    def _check(self, instances: tuple[Instance, ...]) -> None:
        """Check the hosts that were not in the list before."""
        known, refusal_of = self._refusals, self._policy.refusal_of
        self._refusals = {
            host: known[host] if host in known else refusal_of(host)
            for host in dict.fromkeys(each.host for each in instances)
        }

    def _message(self, instance: Instance) -> str:
        return f"{self._place}: instance {instance.id!r} skipped: {self._refusals[instance.host]}"


class LossGuard:
    """Keeps instances that were lost in doubtful circumstances for `grace_s`.

    Attributes:
        release_at: when a fresh read is believed again; None while no loss is doubted.
        settle_at: when to check the list again, while an instance that turned critical is kept for
            a moment; None otherwise.

    Args:
        grace_s: how long; longer than the heartbeat interval of the instances. 0: a loss counts at
            once.
        doubt_max_s: how long after the trouble instances stay in use that still answer.
        answers_since: returns whether an instance, by id, has answered well since a moment.
    """

    def __init__(
        self,
        grace_s: float,
        *,
        doubt_max_s: float = 0.0,
        answers_since: Callable[[str, float], bool] | None = None,
    ) -> None:
        self._doubt_max_s = doubt_max_s
        self._answers_since = answers_since
        self._doubt_until = -math.inf
        self.release_at: float | None = None
        self.settle_at: float | None = None
        self._grace_s = grace_s
        self._calm_at = -math.inf
        self._alarmed = False
        self._has_halved = False
        self._renewals = 0

    def alarm(self) -> None:
        """Note trouble with the registry: the next answer is doubted."""
        self._alarmed = True

    def decide(
        self, before: tuple[Instance, ...], after: tuple[Instance, ...], now: float
    ) -> tuple[Instance, ...]:
        """Return the list to use when `after` is read at `now`, and `before` was in use. O(n).

        It is `after`, or `after` with the instances that are kept, in the order of `before`.
        """
        lost = _lost(before, after)
        halved = bool(lost) and 2 * _count_able(after) < _count_able(before)
        self._take_alarm(halved=halved, now=now)
        if now >= self._calm_at:
            self._renewals = 0
        elif lost:
            self.release_at, self.settle_at = self._calm_at, None
            return _merged(before, after, lost)
        alive = self._alive(lost, now)
        if alive:
            self.release_at = min(now + self._grace_s, self._doubt_until)
            self.settle_at = None
            return _merged(before, after, alive)
        # A loss that was doubted is now believed; it does not have to settle too.
        was_doubted = self.release_at is not None
        self.release_at, self._has_halved = None, False
        sick = set() if was_doubted else lost.intersection(each.id for each in after)
        return _merged(before, after, sick) if self._settles(sick, now) else after

    def _alive(self, lost: set[str], now: float) -> set[str]:
        """Return the lost instances that stay in use because they still answer."""
        if self.release_at is None or now >= self._doubt_until or self._answers_since is None:
            return set()
        return {id_ for id_ in lost if self._answers_since(id_, now - self._grace_s)}

    def _settles(self, sick: set[str], now: float) -> bool:
        """Return whether the instances that turned critical stay in use for now."""
        if not sick or (self.settle_at is not None and now >= self.settle_at):
            self.settle_at = None
        elif self.settle_at is None and self._grace_s:
            self.settle_at = now + min(_SETTLE_S, self._grace_s)
        return self.settle_at is not None

    def _take_alarm(self, *, halved: bool, now: float) -> None:
        alarmed, self._alarmed = self._alarmed, False
        if alarmed and self._renewals <= MOST_RENEWALS:
            self._renewals += 1
            if self.release_at is None and self._grace_s:
                self._doubt_until = now + self._doubt_max_s
        elif not halved or self._has_halved:
            return
        self._has_halved = self._has_halved or halved
        self._calm_at = now + self._grace_s


def _count_able(instances: Iterable[Instance]) -> int:
    return sum(reason_against(each) is None for each in instances)


def _lost(before: tuple[Instance, ...], after: tuple[Instance, ...]) -> set[str]:
    """Return the ids of the instances that took traffic before, and now are gone or critical."""
    if before == after:
        return set()
    there = {each.id for each in after if each.status is not Status.CRITICAL}
    return {each.id for each in before if each.id not in there and not reason_against(each)}


def _merged(
    before: tuple[Instance, ...], after: tuple[Instance, ...], lost: set[str]
) -> tuple[Instance, ...]:
    new = {each.id: each for each in after if each.id not in lost}
    old = [each if each.id in lost else new.pop(each.id, None) for each in before]
    return (*(each for each in old if each is not None), *new.values())
