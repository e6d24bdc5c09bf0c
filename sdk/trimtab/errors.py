"""Every error that Trimtab raises.

    TrimtabError
    ├── ConfigurationError (ValueError)     a setting, URL or file is wrong
    │   └── InvalidInstanceError            a field of an instance is wrong
    ├── PickError                           no instance can take this request
    │   ├── NoInstancesError                the list is empty
    │   ├── NoEligibleInstanceError         the list is not empty, but all are filtered
    │   └── SaturatedError                  every eligible instance has as much as it may have
    ├── PickDoneError                       `Pick.done` was called a second time
    ├── RegistryError                       a registry did not give a usable answer
    │   ├── RegistryUnavailableError        no answer, or an answer that says "later"
    │   ├── RegistryCursorLostError         a watch must begin again with the whole list
    │   ├── RegistryDeniedError             the credentials do not suffice
    │   ├── RegistryAnswerError             an answer came, and cannot be read
    │   ├── RegistryRequestError            the registry says that our request is wrong
    │   └── NotRegisteredError              the registry has forgotten a registration
    ├── DiscoveryError                      no first list of a service can be had
    │   └── DiscoveryTimeoutError           none arrived within `startup_timeout_s`
    ├── DeadlineError (TimeoutError)        the deadline of a `Balancer.call` has passed
    └── ClosedError                         used after it was closed, or cut off by closing

The transports raise pick and discovery errors as subclasses that are also
`httpx.ConnectError`, so that code written for httpx catches them unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class TrimtabError(Exception):
    """The root of all errors of this package."""


class ConfigurationError(TrimtabError, ValueError):
    """A setting, a registry URL or a configuration file is wrong; retrying cannot help."""


class InvalidInstanceError(ConfigurationError):
    """A field of an instance is wrong; the message names the instance and the field."""


class PickError(TrimtabError):
    """No instance can take this request.

    Attributes:
        service: the name of the service.
    """

    def __init__(self, message: str, *, service: str = "") -> None:
        super().__init__(message)
        self.service = service


class NoInstancesError(PickError):
    """The registry lists no instance of the service at all."""


class NoEligibleInstanceError(PickError):
    """The service has instances, but none may be picked.

    Attributes:
        reasons: how many instances were left out, per reason.
    """

    def __init__(
        self, message: str, *, service: str = "", reasons: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(message, service=service)
        self.reasons = dict(reasons or {})


class SaturatedError(PickError):
    """Every eligible instance has as many requests in flight as `ConcurrencyLimits` allow."""


class PickDoneError(TrimtabError):
    """`Pick.done` was called a second time: a mistake in the caller."""


class RegistryError(TrimtabError):
    """A registry did not give a usable answer. The last good list stays in use."""


class RegistryUnavailableError(RegistryError):
    """The registry cannot be reached, or answers that it cannot answer now."""


class RegistryCursorLostError(RegistryError):
    """The registry no longer knows where a watch stood: read the whole list again, now."""


class RegistryDeniedError(RegistryError):
    """The registry refuses our credentials, or they do not suffice."""


class RegistryAnswerError(RegistryError):
    """The registry's answer cannot be read: torn, too large, or of another shape."""


class RegistryRequestError(RegistryError):
    """The registry calls our request wrong (or knows no such service); repeating cannot help."""


class NotRegisteredError(RegistryError):
    """The registry does not know this registration (any more): register again."""


class DiscoveryError(TrimtabError):
    """No first list of a service can be had: the registry refuses, and none is on disk.

    Attributes:
        service: the name of the service.
    """

    def __init__(self, message: str, *, service: str = "") -> None:
        super().__init__(message)
        self.service = service


class DiscoveryTimeoutError(DiscoveryError):
    """No first list of a service arrived within `startup_timeout_s`, and none is on disk."""


class DeadlineError(TrimtabError, TimeoutError):
    """The deadline of a `Balancer.call` has passed. Transports raise httpx's `ReadTimeout`."""


class ClosedError(TrimtabError):
    """Something was used after it was closed, or a request was cut off by closing."""
