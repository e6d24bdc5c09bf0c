"""What of a registry's answer is let in: so many instances, at addresses that are permitted."""

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
    """The door through which the lists of one service come, from a registry or from disk.

    An instance at an address that the settings refuse is left out and named in the log, once. A
    host name is let in: what it resolves to is judged when it is connected to.

    Args:
        place: how messages name the registry.
        service: the service's name.
        settings: with the bounds.
    """

    def __init__(self, place: str, service: str, settings: DiscoverySettings) -> None:
        self._place = f"{place}: {service!r}"
        self._service = service
        self._policy = NetworkPolicy(settings.allow_networks)
        self._max_instances = settings.max_instances
        self._complaints = Complaints()
        self._judged: dict[str, str | None] = {}

    def admit(self, instances: tuple[Instance, ...]) -> tuple[Instance, ...]:
        """Return the instances that may be called.

        Raises:
            RegistryAnswerError: there are too many, or not one may be called.
        """
        if len(instances) > self._max_instances:
            raise RegistryAnswerError(
                f"{self._place}: {len(instances)} instances are more than max_instances, "
                f"{self._max_instances}; raise it if that is right"
            )
        self._judge(instances)
        refused = [each for each in instances if self._judged[each.host]]
        if not refused:
            self._complaints.about(self._service, ())
            return instances
        messages = tuple(map(self._message, refused[:_MOST_NAMED]))
        if len(refused) == len(instances):
            raise RegistryAnswerError(f"{messages[0]} (and no other instance is permitted)")
        if len(refused) > _MOST_NAMED:
            messages += (f"{self._place}: {len(refused)} instances are refused in all",)
        self._complaints.about(self._service, messages)
        return tuple(each for each in instances if not self._judged[each.host])

    def _judge(self, instances: tuple[Instance, ...]) -> None:
        """Judge the hosts that were not there before."""
        known, refusal_of = self._judged, self._policy.refusal_of
        self._judged = {
            host: known[host] if host in known else refusal_of(host)
            for host in dict.fromkeys(each.host for each in instances)
        }

    def _message(self, instance: Instance) -> str:
        return f"{self._place}: instance {instance.id!r} skipped: {self._judged[instance.host]}"
