"""One request's course over one or more attempts: what to do next, whoever does the I/O."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trimtab.discovery.service import Service
    from trimtab.instance import Instance
    from trimtab.pool import Outcome, Pick
    from trimtab.retry import Failure

__all__ = ["Call"]

_FIRST_FAILING_STATUS = 500
_NOTHING: Mapping[str, tuple[Instance, Failure]] = MappingProxyType({})
_TOO_MANY_REQUESTS = 429


class Call:
    """Picks, notes failures, and decides on another attempt.

    Args:
        service: with its list known.
        key: for strategies with affinity.
        method: the request's method, upper case.
        replayable: whether the body can be sent a second time.

    Attributes:
        tried: the instances that failed so far, by id, each with how.
    """

    __slots__ = ("_key", "_method", "_replayable", "service", "tried")

    def __init__(
        self,
        service: Service,
        *,
        key: str | None = None,
        method: str = "GET",
        replayable: bool = True,
    ) -> None:
        self.service = service
        self.tried: Mapping[str, tuple[Instance, Failure]] = _NOTHING
        self._key = key
        self._method = method
        self._replayable = replayable

    def pick(self) -> Pick:
        """Pick an instance, one that was not tried while there is another.

        Raises:
            PickError: no instance can take the request.
        """
        return self.service.pick(key=self._key, exclude=self.tried)

    def answered(self, pick: Pick, status: int) -> None:
        """Note a response's head: 5xx and 429 count against the instance."""
        self.service.answered(pick, ok=_is_ok(status))

    def completed(self, pick: Pick, status: int) -> None:
        """Note a response that came whole: head and body at one moment."""
        self.service.done(pick, "success" if _is_ok(status) else "failure")

    def done(self, pick: Pick, outcome: Outcome) -> None:
        """Give a pick back, unless that has happened."""
        self.service.done(pick, outcome)

    def failed(self, pick: Pick, failure: Failure) -> bool:
        """Note that an attempt got no response; say whether to make another one.

        A mistake of ours or a cancellation (`other`) says nothing against the instance, and is
        never tried again.
        """
        self.tried = {**self.tried, pick.instance.id: (pick.instance, failure)}
        if failure == "other":
            self.service.done(pick, "cancelled")
            return False
        self.service.done(pick, "failure")
        return self.service.may_retry(
            failure, self.tried, method=self._method, replayable=self._replayable
        )


def _is_ok(status: int) -> bool:
    return status < _FIRST_FAILING_STATUS and status != _TOO_MANY_REQUESTS
