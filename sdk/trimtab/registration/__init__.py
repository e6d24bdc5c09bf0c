"""The writing side: a process registers itself, keeps its lease, and leaves cleanly.

A heartbeat is sent every third of the TTL, so two may be lost. If the registry has forgotten the
instance (after a restart, or a late heartbeat), it is registered again. If the registry does not
answer, the heartbeat is tried again, with backoff, as long as the registration is open. A check of
the instance is run by the registry if it can, else here.

`registration` has what users hold; `keeper` the loops behind it; `servers` what ties it to the
start and the stop of a server.
"""

from __future__ import annotations

from trimtab.registration.registration import Registration, register
from trimtab.registration.servers import GunicornHooks, Registered

__all__ = ["GunicornHooks", "Registered", "Registration", "register"]
