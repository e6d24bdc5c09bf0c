"""Garbage collection while simulating: rarer, as nearly everything dies by itself."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["patient_collector"]

_THRESHOLDS = (5_000, 10, 100)


@contextmanager
def patient_collector() -> Iterator[None]:
    """Have the cycle collector look more rarely, until the end of the block.

    A run makes and drops many small objects beside a world that stays, in a process that may be
    large: looking through all of it again and again took up to a sixth of the time. Cycles are
    still found, some megabytes later. A collector that was put off altogether stays off.
    """
    before = gc.get_threshold()
    if before[0]:
        gc.set_threshold(*map(max, before, _THRESHOLDS))
    try:
        yield
    finally:
        gc.set_threshold(*before)
