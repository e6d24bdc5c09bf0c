"""Pictures for notebooks, with matplotlib but without the global state of pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from trimtab_sim.metrics import metric
from trimtab_sim.recorder import BINS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trimtab_sim.figures import EventFigures
    from trimtab_sim.result import Result
    from trimtab_sim.sweeps import Sweep

__all__ = ["draw_convergence", "draw_latency", "draw_shares", "draw_sweep"]

_SIZE = (8.0, 4.0)
_LABELLED = 12
_LEAST_SHARE = 1e-5
_NEARLY_ALL = 0.98
"""The axis of time begins where the rarest, shortest times are left out."""


def draw_latency(result: Result) -> Figure:
    """Draw the share of requests that took longer than a time, per strategy, on log axes."""
    figure, axes = _blank()
    shortest: list[float] = []
    for strategy in result.strategies:
        buckets = list(result.latency(strategy).buckets())
        if buckets:
            times, counts = np.array(buckets).T
            beyond = 1.0 - np.cumsum(counts) / counts.sum()
            axes.step(times, beyond, where="post", label=strategy)
            shortest.append(times[int(np.argmax(beyond < _NEARLY_ALL))])
    if shortest:  # an empty picture has no scale
        axes.set(xlim=(min(shortest), None), xscale="log", yscale="log", ylim=(_LEAST_SHARE, 1.0))
    axes.set(
        xlabel="seconds",
        ylabel="share of requests that took longer",
        title="Time of successful requests",
    )
    axes.grid(visible=True, alpha=0.3)
    _add_legend(axes)
    return figure


def draw_shares(result: Result, strategy: str, replication: int) -> Figure:
    """Draw each server's share of the attempts over time, as layers, with the events marked."""
    figure, axes = _blank()
    run = result.runs[strategy][replication]
    shares = result.shares(strategy, replication)[:, :BINS]
    moments = np.arange(BINS) * run.bin_s
    names = [server.id for server in run.servers][: len(shares)]
    axes.stackplot(
        moments,
        shares,
        labels=names if len(names) <= _LABELLED else (),
        colors=colormaps["viridis"](np.linspace(0, 1, max(2, len(names)))),
        step="post",
    )
    _mark(axes, run.events)
    axes.set(
        xlim=(0, moments[-1] + run.bin_s),
        ylim=(0, 1),
        xlabel="seconds",
        ylabel="share of attempts",
        title=f"Attempts by server: {strategy}, replication {result.replications[replication]}",
    )
    if len(names) <= _LABELLED:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
    return figure


def draw_convergence(result: Result) -> Figure:
    """Draw, per strategy, the share of changes that all clients had followed by a time."""
    figure, axes = _blank()
    for strategy in result.strategies:
        times = np.sort(result.times_to_converge(strategy))
        if len(times):
            axes.step(
                times, np.arange(1, len(times) + 1) / len(times), where="post", label=strategy
            )
    for kind, bound_s in _widest_bounds(result):
        axes.axvline(bound_s, color="0.4", linestyle="--", linewidth=1)
        axes.annotate(f"bound: {kind}", (bound_s, 0.02), rotation=90, ha="right", fontsize="small")
    axes.set(
        ylim=(0, 1.02),
        xlabel="seconds until the last client's view was right",
        ylabel="share of changes",
        title="Convergence of views",
    )
    axes.grid(visible=True, alpha=0.3)
    _add_legend(axes, loc="lower right")
    return figure


def draw_sweep(sweep: Sweep, name: str) -> Figure:
    """Draw a figure against the first setting, its mean and its 95 % interval."""
    figure, axes = _blank()
    one, settings = metric(name), sweep.settings(sweep.paths[0])
    are_numbers = all(isinstance(value, (int, float)) for value in settings)
    for strategy in sweep.strategies:
        places, means, errors = [], [], []
        for setting, result in zip(settings, sweep.results, strict=True):
            found = result.interval(strategy, name) if strategy in result.runs else None
            if found is not None:
                places.append(setting if are_numbers else str(setting))
                means.append(found.estimate)
                errors.append(found.half_width if np.isfinite(found.half_width) else 0.0)
        axes.errorbar(places, means, yerr=errors, marker="o", capsize=3, label=strategy)
    axes.set(xlabel=sweep.paths[0], ylabel=f"{one.label} ({one.unit})", title="Sweep")
    axes.grid(visible=True, alpha=0.3)
    _add_legend(axes)
    return figure


def _blank() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    return figure, figure.add_subplot()


def _add_legend(axes: Axes, **where: Any) -> None:
    # matplotlib warns about a legend without lines.
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**where)


def _mark(axes: Axes, events: list[EventFigures]) -> None:
    for event in events[:_LABELLED]:
        axes.axvline(event.at, color="black", linewidth=0.8)
        axes.annotate(event.label, (event.at, 0.98), rotation=90, va="top", fontsize="small")
        if event.until is not None:
            axes.axvline(event.until, color="black", linewidth=0.8, linestyle=":")


def _widest_bounds(result: Result) -> list[tuple[str, float]]:
    """Return the widest bound of each kind of change in the runs; equal bounds are one entry."""
    widest: dict[str, float] = {}
    for runs in result.runs.values():
        for run in runs:
            for change in run.convergence.changes:
                widest[change.kind] = max(widest.get(change.kind, 0.0), change.bound_s)
    kinds: dict[float, list[str]] = {}
    for kind, bound_s in widest.items():
        kinds.setdefault(bound_s, []).append(kind)
    return [(", ".join(found), bound_s) for bound_s, found in kinds.items()]
