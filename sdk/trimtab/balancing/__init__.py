"""A service in use: its list, its pool and its requests, under one lock and one clock.

`service` is one service, `services` all of one user, by name. `drivers` carry out the steps of the
request machine, blocking or async. `balancer` is the public `Balancer`, for clients of any kind,
`functions` how it calls its user's function. `policies` says how requests are balanced, `probes`
runs the client's own active probes, and connects to instances that failed to answer.
"""

from __future__ import annotations

from trimtab.balancing.balancer import Balancer
from trimtab.balancing.policies import (
    Policies,
    check_deadline,
    check_range,
    reconnect_settings,
)
from trimtab.balancing.service import Service
from trimtab.balancing.services import Services, state_of, statistics_of

__all__ = [
    "Balancer",
    "Policies",
    "Service",
    "Services",
    "check_deadline",
    "check_range",
    "reconnect_settings",
    "state_of",
    "statistics_of",
]
