"""Every error that Trimtab raises.

    TrimtabError
    ├── ConfigurationError (ValueError)     a setting, URL or file is wrong
    │   └── InvalidInstanceError            a field of an instance is wrong
    ├── PickError                           no instance can take this request
    │   ├── NoInstancesError                the list is empty
    │   ├── NoEligibleInstanceError         the list is not empty, but all are filtered
    │   └── SaturatedError                  every eligible instance is at its concurrency limit
    ├── PickDoneError                       `Pick.done` was called a second time
    ├── RegistryError                       a registry gave no usable answer
    │   ├── RegistryUnavailableError        no answer, or one that means "later"
    │   ├── RegistryCursorLostError         a watch must begin again with the whole list
    │   ├── RegistryDeniedError             the credentials are refused or insufficient
    │   ├── RegistryAnswerError             the answer cannot be read
    │   ├── RegistryRequestError            the registry reports that our request is wrong
    │   └── NotRegisteredError              the registry has forgotten a registration
    ├── DiscoveryError                      there is no first list of a service
    │   └── DiscoveryTimeoutError           no list came within `startup_timeout_s`
    ├── DeadlineError (TimeoutError)        the deadline of a `Balancer.call` has passed
    └── ClosedError                         used after it was closed, or cut off by closing

The transports raise pick and discovery errors as subclasses that are also
`httpx.ConnectError`, so code written for httpx catches them unchanged.
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
    """The registry lists no instance of the service."""


class NoEligibleInstanceError(PickError):
    """The service has instances, but all of them are filtered.

    Attributes:
        reasons: the number of filtered instances per reason.
    """

    def __init__(
        self, message: str, *, service: str = "", reasons: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(message, service=service)
        self.reasons = dict(reasons or {})


class SaturatedError(PickError):
    """Every eligible instance has as many requests in flight as `ConcurrencyLimits` allow."""


class PickDoneError(TrimtabError):
    """`Pick.done` was called a second time: a bug in the caller."""


class RegistryError(TrimtabError):
    """A registry gave no usable answer. The last good list stays in use."""


class RegistryUnavailableError(RegistryError):
    """The registry cannot be reached, or is temporarily unable to answer."""


class RegistryCursorLostError(RegistryError):
    """The registry has lost the position of a watch: read the whole list again, at once."""


class RegistryDeniedError(RegistryError):
    """The registry refuses our credentials, or they are insufficient."""


class RegistryAnswerError(RegistryError):
    """The registry's answer cannot be read: incomplete, too large, or of another form."""


class RegistryRequestError(RegistryError):
    """The registry rejects our request (or has no such service); repeating cannot help."""


class NotRegisteredError(RegistryError):
    """The registry has no such registration, or has lost it: register again."""


class DiscoveryError(TrimtabError):
    """There is no first list of a service: the registry refuses, and none is on disk.

    Attributes:
        service: the name of the service.
    """

    def __init__(self, message: str, *, service: str = "") -> None:
        super().__init__(message)
        self.service = service


class DiscoveryTimeoutError(DiscoveryError):
    """No first list of a service came within `startup_timeout_s`, and none is on disk."""


class DeadlineError(TrimtabError, TimeoutError):
    """The deadline of a `Balancer.call` has passed. Transports raise httpx's `ReadTimeout`."""


class ClosedError(TrimtabError):
    """Something was used after it was closed, or a request was cut off by closing."""
