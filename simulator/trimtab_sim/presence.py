"""Which server was there when, and what would have been its fair share.

A server is *there* while it serves and is announced: the truth of `convergence`. Its fair share
of what is sent in a bin of time is its weight among those there in that bin, in proportion to how
long they were. So a server that comes late or goes early is not called idle, and one that stays
when others crash is not called busy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trimtab_sim.recorder import BINS

if TYPE_CHECKING:
    import numpy.typing as npt

    from trimtab_sim.simulation import Run

__all__ = ["fairness", "presence", "served_seconds"]

_ENOUGH = 0.05
"""Servers whose fair share is less than this part of the mean one are not judged."""


def presence(run: Run) -> npt.NDArray[np.float64]:
    """Return how much of each bin each server was there: servers by bins, shares of one."""
    duration = run.scenario.about.duration
    there = np.zeros((len(run.world.runners), BINS))
    starts = np.arange(BINS) * (duration / BINS)
    for index, spells in enumerate(_spells(run)):
        for begun, ended in spells:
            overlap = np.minimum(starts + duration / BINS, ended) - np.maximum(starts, begun)
            there[index] += np.clip(overlap, 0.0, None)
    shares: npt.NDArray[np.float64] = there / (duration / BINS)
    return shares


def served_seconds(run: Run) -> list[float]:
    """Return how long each server was there, in all."""
    return [sum(ended - begun for begun, ended in spells) for spells in _spells(run)]


def fairness(run: Run) -> float | None:
    """Return the most that a server got, as a factor of its fair share, after the warm-up.

    With servers that are always there and weigh the same this is the busiest one's requests over
    the mean. None when nothing was sent.
    """
    recorder = run.recorder
    first = int(np.ceil(recorder.warmup / recorder.duration * BINS))
    weights = np.array([[runner.server.instance.weight] for runner in run.world.runners])
    sent = np.zeros((len(weights), BINS))
    for index, bins in enumerate(recorder.sent):
        sent[index] = bins[:BINS]
    claims = presence(run) * weights
    claims[:, :first] = 0.0
    whole = claims.sum(axis=0)
    # What went to servers that were not there is judged elsewhere.
    taken = np.where(claims > 0, sent, 0.0)
    each = np.divide(taken.sum(axis=0), whole, out=np.zeros(BINS), where=whole > 0)
    fair, got = (claims * each).sum(axis=1), taken.sum(axis=1)
    judged = fair > _ENOUGH * fair.mean() if len(fair) else np.zeros(0, dtype=bool)
    return float((got[judged] / fair[judged]).max()) if judged.any() else None


def _spells(run: Run) -> list[list[tuple[float, float]]]:
    """Return, per server, from when to when it was there."""
    duration = float(run.scenario.about.duration)
    index = {runner.server.instance.id: at for at, runner in enumerate(run.world.runners)}
    spells: list[list[tuple[float, float]]] = [[] for _ in index]
    for change in run.convergence.changes:
        if change.is_present:
            ended = duration if change.superseded_at is None else change.superseded_at
            spells[index[change.instance]].append((min(change.at, duration), min(ended, duration)))
    return spells
