"""Trimtab: client-side load balancing for httpx.

It keeps a Python program's outbound HTTP calls spread over the instances that are alive.
"""

from trimtab.discovery import Directory, DiscoverySettings, DiscoveryState, SyncDirectory
from trimtab.errors import (
    ClosedError,
    ConfigurationError,
    DiscoveryError,
    DiscoveryTimeoutError,
    InvalidInstanceError,
    NoEligibleInstanceError,
    NoInstancesError,
    NotRegisteredError,
    PickDoneError,
    PickError,
    RegistryAnswerError,
    RegistryCursorLostError,
    RegistryDeniedError,
    RegistryError,
    RegistryRequestError,
    RegistryUnavailableError,
    TrimtabError,
)
from trimtab.instance import Instance, Snapshot, Status
from trimtab.pool import Pick, Pool
from trimtab.registration import Registration, register
from trimtab.registries import connect
from trimtab.retry import RetryPolicy
from trimtab.strategies import STRATEGIES
from trimtab.transports import BalancedTransport, CallInfo

__all__ = [
    "STRATEGIES",
    "BalancedTransport",
    "CallInfo",
    "ClosedError",
    "ConfigurationError",
    "Directory",
    "DiscoveryError",
    "DiscoverySettings",
    "DiscoveryState",
    "DiscoveryTimeoutError",
    "Instance",
    "InvalidInstanceError",
    "NoEligibleInstanceError",
    "NoInstancesError",
    "NotRegisteredError",
    "Pick",
    "PickDoneError",
    "PickError",
    "Pool",
    "Registration",
    "RegistryAnswerError",
    "RegistryCursorLostError",
    "RegistryDeniedError",
    "RegistryError",
    "RegistryRequestError",
    "RegistryUnavailableError",
    "RetryPolicy",
    "Snapshot",
    "Status",
    "SyncDirectory",
    "TrimtabError",
    "connect",
    "register",
]
