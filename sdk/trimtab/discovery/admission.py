"""Check a registry's answer before it is used: the number of instances, and their addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.errors import RegistryAnswerError
from trimtab.networks import NetworkPolicy
from trimtab.registries.entries import Complaints

if TYPE_CHECKING:
    from trimtab.discovery.settings import DiscoverySettings
    from trimtab.instance import Instance

__all__ = ["Admission"]

_MOST_NAMED = 100


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
