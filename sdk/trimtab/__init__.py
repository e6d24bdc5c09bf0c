"""Trimtab: client-side load balancing for httpx.

It keeps a Python program's outbound HTTP calls spread over the instances that are alive.
"""

from trimtab.alerts import Alerter, AlertSettings
from trimtab.balancing import Balancer
from trimtab.calls import Failure, HedgePolicy, RetryPolicy
from trimtab.check import Check
from trimtab.discovery import Directory, DiscoverySettings, DiscoveryState
from trimtab.errors import (
    ClosedError,
    ConfigurationError,
    DeadlineError,
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
    SaturatedError,
    TrimtabError,
)
from trimtab.events import InstanceChanged, RegistryChanged, ServiceChanged
from trimtab.health import EnvoyOutliers, GrpcOutliers, HealthSettings, SlowStart
from trimtab.health.probing import ProbeSettings, ReconnectSettings
from trimtab.instance import Instance, Snapshot, Status
from trimtab.pool import ConcurrencyLimits, MemberStatistics, Pick, Pool, PoolStatistics
from trimtab.registration import Registration, register
from trimtab.registries import connect
from trimtab.reporting import AsgiLoadReporter, LoadMeter, WsgiLoadReporter
from trimtab.strategies import STRATEGIES, LeastLoad, Maglev, PrioritySettings, RingHash, ZoneAware
from trimtab.subsetting import DeterministicAperture, DeterministicSubset, RandomSubset
from trimtab.transports import BalancedTransport, CallInfo, RequestOptions

__all__ = [
    "STRATEGIES",
    "AlertSettings",
    "Alerter",
    "AsgiLoadReporter",
    "BalancedTransport",
    "Balancer",
    "CallInfo",
    "Check",
    "ClosedError",
    "ConcurrencyLimits",
    "ConfigurationError",
    "DeadlineError",
    "DeterministicAperture",
    "DeterministicSubset",
    "Directory",
    "DiscoveryError",
    "DiscoverySettings",
    "DiscoveryState",
    "DiscoveryTimeoutError",
    "EnvoyOutliers",
    "Failure",
    "GrpcOutliers",
    "HealthSettings",
    "HedgePolicy",
    "Instance",
    "InstanceChanged",
    "InvalidInstanceError",
    "LeastLoad",
    "LoadMeter",
    "Maglev",
    "MemberStatistics",
    "NoEligibleInstanceError",
    "NoInstancesError",
    "NotRegisteredError",
    "Pick",
    "PickDoneError",
    "PickError",
    "Pool",
    "PoolStatistics",
    "PrioritySettings",
    "ProbeSettings",
    "RandomSubset",
    "ReconnectSettings",
    "Registration",
    "RegistryAnswerError",
    "RegistryChanged",
    "RegistryCursorLostError",
    "RegistryDeniedError",
    "RegistryError",
    "RegistryRequestError",
    "RegistryUnavailableError",
    "RequestOptions",
    "RetryPolicy",
    "RingHash",
    "SaturatedError",
    "ServiceChanged",
    "SlowStart",
    "Snapshot",
    "Status",
    "TrimtabError",
    "WsgiLoadReporter",
    "ZoneAware",
    "connect",
    "register",
]
