"""`trimtab demo`: the command, its options and its output."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003 - the annotations are read at run time
from typing import TYPE_CHECKING

from trimtab.cli.consoles import for_output, is_live
from trimtab.cli.demo.results import draw, summary, summary_json
from trimtab.cli.demo.run import Plan, run_demo
from trimtab.cli.demo.viewers import Board, Lines, Quiet
from trimtab.cli.ending import DONE, FAILED
from trimtab.cli.inputs import DEFAULT, AboveZero, Configured, Json, Seconds, Strategy, Whole
from trimtab.errors import ConfigurationError
from trimtab.strategies import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trimtab.cli.demo.run import Run, Viewer

__all__ = ["demo"]

_LEAST_S = 4.0


def demo(
    *,
    duration: Seconds = 20.0,
    rate: AboveZero = 240.0,
    strategy: Strategy = "least_latency",
    seed: Whole = 1,
    svg: Path | None = None,
    json_: Json = False,
    _: Configured = DEFAULT,
) -> int:
    """Watch six backends under load while one is killed, the busiest is slowed and one is added.

    Everything is real: a registry, a process per backend, HTTP over loopback. The exit code is
    1 if a call failed.

    ```
    trimtab demo
    trimtab demo --strategy round_robin
    ```

    Args:
        duration: Seconds of traffic, 4 or more.
        rate: Calls per second, on average.
        strategy: The strategy that picks an instance.
        seed: Decides which instance is killed and when calls are made.
        svg: Write a picture of the run to this file.
        json_: Print only the summary, as JSON.
    """
    if duration < _LEAST_S:
        raise ConfigurationError(f"--duration is {duration:g}; it must be {_LEAST_S:g} or more")
    if svg is not None and not svg.parent.is_dir():
        raise ConfigurationError(
            f"--svg {svg}: there is no directory {svg.parent}; create it first"
        )
    resolve(strategy)
    plan = Plan(rate_per_s=rate, duration_s=duration, strategy=strategy, seed=seed)
    console = for_output()
    viewer = Board(console) if is_live(console) and not json_ else Quiet() if json_ else Lines()
    with viewer:
        run = asyncio.run(_run(plan, viewer))
    if svg is not None:
        svg.write_text(draw(run), "utf-8")
    if json_:
        print(json.dumps(summary_json(run), indent=2))
    else:
        console.print(summary(run))
    return FAILED if run.record.failures else DONE


async def _run(plan: Plan, viewer: Viewer) -> Run:
    with _sigterm_cancels():
        return await run_demo(plan, viewer)


@contextmanager
def _sigterm_cancels() -> Iterator[None]:
    """Cancel the run at SIGTERM, so that it cleans up as with Ctrl-C."""
    loop, running = asyncio.get_running_loop(), asyncio.current_task()
    assert running is not None
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
