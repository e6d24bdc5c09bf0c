"""Every error that the simulator raises of its own.

TrimtabError
├── ConfigurationError (ValueError)
│   └── ScenarioError                  a scenario file is wrong; names file, line and remedy
└── SimulationError (RuntimeError)     the simulated program did what cannot be simulated
    ├── DeadlockError                  nothing can happen any more, and something is awaited
    └── LivelockError                  things happen for ever, and the clock stands still
"""

from __future__ import annotations

from trimtab.errors import ConfigurationError, TrimtabError

__all__ = ["DeadlockError", "LivelockError", "ScenarioError", "SimulationError"]


class SimulationError(TrimtabError, RuntimeError):
    """The program under simulation did something that virtual time cannot follow."""


class DeadlockError(SimulationError):
    """No event is left in the simulation, while somebody still waits."""


class LivelockError(SimulationError):
    """More steps were taken within one instant than any sane program takes."""


class ScenarioError(ConfigurationError):
    """A scenario says something wrong, or something that nobody knows.

    The message has the form `file:line: place: what is wrong; what to write instead`, one line
    per mistake.
    """
