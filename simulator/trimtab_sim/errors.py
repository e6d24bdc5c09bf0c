"""The simulator's own errors.

TrimtabError
├── ConfigurationError (ValueError)
│   └── ScenarioError                  a scenario file is wrong; names file, line and remedy
└── SimulationError (RuntimeError)     the simulated program did what cannot be simulated
    ├── DeadlockError                  no event is left, and a task still waits
    └── LivelockError                  events go on without end, and the clock stands still
"""

from __future__ import annotations

from trimtab.errors import ConfigurationError, TrimtabError

__all__ = ["DeadlockError", "LivelockError", "ScenarioError", "SimulationError"]


class SimulationError(TrimtabError, RuntimeError):
    """The program under simulation did something that virtual time cannot follow."""


class DeadlockError(SimulationError):
    """No event is left in the simulation, while a task still waits."""


class LivelockError(SimulationError):
    """The program took more steps within one instant than the limit allows."""


class ScenarioError(ConfigurationError):
    """A scenario has a wrong value or an unknown key.

    The message has the form `file:line: place: what is wrong; what to write instead`, one line
    per mistake.
    """
