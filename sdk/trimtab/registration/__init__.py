"""The writing side: a process registers itself, keeps its lease, and leaves cleanly.

The heartbeat goes out every third of the TTL, so that two may be lost. A registry that has
forgotten (it was restarted, or a heartbeat came too late) is told again; one that does not answer
is asked again, with backoff, for as long as the registration is open. A check of the instance is
run by the registry where it can, else here.
"""

from __future__ import annotations

from trimtab.registration.registration import Registration, register

__all__ = ["Registration", "register"]
