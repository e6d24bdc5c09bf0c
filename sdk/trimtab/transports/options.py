"""What one request may ask for itself: `extensions={"trimtab": {...}}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.discovery.policies import check_deadline
from trimtab.errors import ConfigurationError
from trimtab.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trimtab.discovery import Policies

__all__ = ["CallOptions"]

_KNOWN = ("deadline_s", "hedge", "key", "retry")
_NEVER = RetryPolicy(max_attempts=1)


@dataclass(frozen=True, slots=True)
class CallOptions:
    """A request's own wishes, or what its service says.

    Attributes:
        key: what strategies with affinity keep on one instance.
        deadline_s: how long it may take, attempts and body included; None: no bound.
        retry: what is tried again.
        hedged: whether a hedge may be sent.
    """

    key: str | None
    deadline_s: float | None
    retry: RetryPolicy
    hedged: bool

    @classmethod
    def of(cls, extensions: Mapping[str, Any], policies: Policies) -> CallOptions:
        """Read a request's extensions.

        Raises:
            ConfigurationError: an option is unknown, or of the wrong kind.
        """
        own = extensions.get("trimtab")
        if not own:
            return cls(None, policies.deadline_s, policies.retry, hedged=True)
        unknown = [name for name in own if name not in _KNOWN]
        if unknown:
            raise ConfigurationError(
                f"extensions['trimtab'] has {unknown[0]!r}; known are {', '.join(_KNOWN)}"
            )
        deadline_s = own.get("deadline_s", policies.deadline_s)
        check_deadline(deadline_s)
        retry = own.get("retry", policies.retry)
        if retry in (False, None):
            retry = _NEVER
        if not isinstance(retry, RetryPolicy):
            raise ConfigurationError(
                f"extensions['trimtab'] has retry={retry!r}; write RetryPolicy(...) or False"
            )
        return cls(own.get("key"), deadline_s, retry, hedged=bool(own.get("hedge", True)))
