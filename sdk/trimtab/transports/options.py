"""The options of one request: `extensions={"trimtab": {...}}`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from trimtab.balancing import check_deadline
from trimtab.calls import RetryPolicy
from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KeyFrom", "Options", "RequestOptions", "key_reader"]

KeyFrom: TypeAlias = "str | Callable[[Any], str | None]"
"""Where a request's key comes from: the name of a header, or a function of the request."""

_NEVER = RetryPolicy(max_attempts=1)


class RequestOptions(TypedDict, total=False):
    """What a request's `extensions["trimtab"]` may hold; each is optional.

    Attributes:
        key: for strategies with affinity: requests of one key go to one instance.
        deadline_s: seconds, above 0: how long the request may take, attempts and body included;
            None: no limit.
        retry: replaces the transport's policy; False: no retry.
        hedge: False: no hedge for this request.
    """

    key: str | None
    deadline_s: float | None
    retry: RetryPolicy | bool | None
    hedge: bool


@dataclass(frozen=True, slots=True)
class Options:
    """How one request is sent.

    Attributes:
        key: for strategies with affinity: requests of one key go to one instance.
        deadline_s: how long it may take, attempts and body included; None: no limit.
        retry: which failures are tried again; None: the service's policy.
        may_hedge: whether a hedge may be sent.
    """

    key: str | None = None
    deadline_s: float | None = None
    retry: RetryPolicy | None = None
    may_hedge: bool = True

    def of(self, request: Any, key_of: Callable[[Any], str | None] | None) -> Options:
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
        return replace(
            self,
            key=key,
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
    if key_from is None or callable(key_from):
        return key_from
    if not (key_from and isinstance(key_from, str)):
        raise ConfigurationError(
            f"key_from is {key_from!r}; give the name of a header, or a function of the request"
        )
    name = key_from
    return lambda request: request.headers.get(name)


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
