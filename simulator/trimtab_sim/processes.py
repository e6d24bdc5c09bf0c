"""A pool of processes that ends at once, by an error, by Ctrl-C, and when its owner is gone.

None of them is killed: one that dies while it writes a result leaves the reader waiting for ever.
They hear of SIGINT while they work, and only then: the work is left where it is, and so is
all that follows.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from trimtab_sim.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

__all__ = ["process_pool"]

T = TypeVar("T")


@contextmanager
def process_pool(jobs: int) -> Iterator[tuple[ProcessPoolExecutor, int]]:
    """Yield a pool of processes and their number; 0 takes one per core.

    If the block ends with an error or Ctrl-C, the processes leave what they do, and end.

    Raises:
        SimulationError: one of them was killed.
    """
    workers = jobs or os.cpu_count() or 1
    before = active_children()
    with _Pool(workers) as pool:
        try:
            yield pool, workers
        except BaseException as error:
            for child in active_children():
                if child not in before and child.pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGINT)
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise SimulationError(
                    "a worker process was killed, perhaps since memory ran out; "
                    "fewer of them (--jobs) need less"
                ) from None
            raise


class _Pool(ProcessPoolExecutor):
    def __init__(self, workers: int) -> None:
        # Spawned, not forked: a fork would copy the caller's threads and locks.
        super().__init__(workers, mp_context=get_context("spawn"), initializer=_begin)

    def submit(self, do: Callable[..., T], /, *args: Any, **settings: Any) -> Future[T]:
        # This starts processes, and they inherit what is blocked.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(_work, do, *args, **settings)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# -- in the processes ------------------------------------------------------------------------

_is_stopped = False


def _begin() -> None:
    signal.signal(signal.SIGINT, _stop)
    Thread(target=_end_with_owner, daemon=True).start()


def _stop(*_: object) -> None:
    # Once: Ctrl-C comes from the terminal and from the owner, and nobody expects the second.
    global _is_stopped  # noqa: PLW0603 - of this process, which has one pool only
    if not _is_stopped:
        _is_stopped = True
        raise KeyboardInterrupt


def _work(do: Callable[..., T], /, *args: Any, **settings: Any) -> T:
    if _is_stopped:
        raise KeyboardInterrupt
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return do(*args, **settings)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _end_with_owner() -> None:
    owner = parent_process()
    if owner is not None:
        wait([owner.sentinel])
        os._exit(1)
