"""The options of one request: `extensions={"trimtab": {...}}`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from trimtab.balancing import check_deadline
from trimtab.calls import RetryPolicy
from trimtab.errors import ConfigurationError
from trimtab.pool import units_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CostFrom", "KeyFrom", "Options", "RequestOptions", "cost_reader", "key_reader"]

CostFrom: TypeAlias = "str | Callable[[Any], float | None]"
"""Where a request's cost comes from: the name of a header, or a function of the request."""

KeyFrom: TypeAlias = "str | Callable[[Any], str | None]"
"""Where a request's key comes from: the name of a header, or a function of the request."""

_NEVER = RetryPolicy(max_attempts=1)


class RequestOptions(TypedDict, total=False):
    """What a request's `extensions["trimtab"]` may hold; each is optional.

    Attributes:
        key: for strategies with affinity: requests of one key go to one instance.
        cost: how many times as much as a usual request it asks of an instance, a finite number
            above 0; None: what `cost_from` says, or 1.
        deadline_s: seconds, above 0: how long the request may take, attempts and body included;
            None: no limit.
        retry: replaces the transport's policy; False: no retry.
        hedge: False: no hedge for this request.
    """

    key: str | None
    cost: float | None
    deadline_s: float | None
    retry: RetryPolicy | bool | None
    hedge: bool


@dataclass(frozen=True, slots=True)
class Options:
    """How one request is sent.

    Attributes:
        key: for strategies with affinity: requests of one key go to one instance.
        cost: what it counts in flight; see `Pool.pick`.
        deadline_s: how long it may take, attempts and body included; None: no limit.
        retry: which failures are tried again; None: the service's policy.
        may_hedge: whether a hedge may be sent.
    """

    key: str | None = None
    cost: float = 1
    deadline_s: float | None = None
    retry: RetryPolicy | None = None
    may_hedge: bool = True

    def of(
        self,
        request: Any,
        key_of: Callable[[Any], str | None] | None,
        cost_of: Callable[[Any], float | None] | None = None,
    ) -> Options:
        """Return the options of a request; an option that it does not set is taken from these.

        Raises:
            ConfigurationError: an option is unknown, or its value is of the wrong kind.
        """
        own = request.extensions.get("trimtab") or {}
        unknown = [name for name in own if name not in RequestOptions.__annotations__]
        if unknown:
            known = ", ".join(sorted(RequestOptions.__annotations__))
            raise ConfigurationError(f"extensions['trimtab'] has {unknown[0]!r}; known are {known}")
        key = own.get("key")
        if key is None and key_of is not None:
            key = key_of(request)
        if key is not None and not isinstance(key, str):
            raise ConfigurationError(f"the key of a request is {key!r}; it must be a string")
        cost = own.get("cost")
        if cost is None and cost_of is not None:
            cost = cost_of(request)
        return replace(
            self,
            key=key,
            cost=1 if cost is None else units_of(cost, "the cost of a request"),
            deadline_s=_deadline_of(own, self.deadline_s),
            retry=_retry_of(own, self.retry),
            may_hedge=bool(own.get("hedge", True)),
        )


def key_reader(
    key_from: KeyFrom | None,
) -> Callable[[Any], str | None] | None:
    """Return the function that reads a request's key.

    Raises:
        ConfigurationError: it is neither a header's name nor a function.
    """
    return _reader("key_from", key_from)


def cost_reader(cost_from: CostFrom | None) -> Callable[[Any], float | None] | None:
    """Return the function that reads a request's cost.

    Raises:
        ConfigurationError: it is neither a header's name nor a function.
    """
    read = _reader("cost_from", cost_from)
    if read is None or callable(cost_from):
        return read
    return lambda request: _number(read(request))


def _reader(setting: str, given: Any) -> Callable[[Any], Any] | None:
    if given is None or callable(given):
        return given  # type: ignore[no-any-return] # the user's function
    if not (given and isinstance(given, str)):
        raise ConfigurationError(
            f"{setting} is {given!r}; give the name of a header, or a function of the request"
        )
    return lambda request: request.headers.get(given)


def _number(text: Any) -> Any:
    """Return a header's number, or the text itself if it is none."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _deadline_of(own: dict[str, Any], usual_s: float | None) -> float | None:
    deadline_s: float | None = own.get("deadline_s", usual_s)
    check_deadline(deadline_s)
    return deadline_s


def _retry_of(own: dict[str, Any], usual: RetryPolicy | None) -> RetryPolicy | None:
    retry = own.get("retry", usual)
    if "retry" in own and (retry is False or retry is None):
        return _NEVER
    if retry is True:
        return usual
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ConfigurationError(
            f"extensions['trimtab'] has retry={retry!r}; write RetryPolicy(...) or False"
        )
    return retry
