"""A check of ours as Consul's definition, for its agent to carry out. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.check import SUCCESS
from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from trimtab.check import Check
    from trimtab.instance import Instance

__all__ = ["check_definition", "duration", "reason_against"]

_LEAST_INTERVAL_S = 1.0


def check_definition(instance: Instance, check: Check, *, check_id: str) -> dict[str, Any]:
    """Write an entry of `Checks` in a registration.

    The agent, not this process, asks the instance; so `127.0.0.1` is the agent's own machine,
    and a script lies there. Consul follows redirects, and takes 429 for a warning.

    Raises:
        ConfigurationError: Consul cannot carry out such a check; the message says why.
    """
    if reason := reason_against(check):
        raise ConfigurationError(f"check {str(check)!r} cannot be run by Consul: {reason}")
    return {
        "CheckID": check_id,
        "Name": f"{check.kind} check",
        "Notes": str(check),
        "Interval": duration(check.interval_s),
        "Timeout": duration(check.timeout_s),
        "SuccessBeforePassing": check.rise,
        "FailuresBeforeCritical": check.fall,
        **_what(instance, check),
    }


def reason_against(check: Check) -> str | None:
    """Say why Consul cannot carry out a check; None if it can."""
    if check.interval_s < _LEAST_INTERVAL_S:
        return f"interval_s is {check.interval_s:g}, and Consul asks once a second"
    if check.statuses != SUCCESS:
        return f"statuses is {check.statuses!r}, and Consul knows {SUCCESS} alone"
    return None


def duration(seconds: float) -> str:
    """Write seconds as Go reads them."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _what(instance: Instance, check: Check) -> dict[str, Any]:
    host, port = check.address(instance)
    if check.kind == "tcp":
        return {"TCP": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
    if check.kind == "script":
        about = {"INSTANCE_ID": instance.id, "HOST": instance.host, "PORT": instance.port}
        told = [f"TRIMTAB_{name}={value}" for name, value in about.items()]
        # Consul has no setting for the environment of a script.
        return {"Args": ["env", *told, *check.command]}
    return {"HTTP": check.url(instance), "Method": "GET", "TLSSkipVerify": not check.verify}
