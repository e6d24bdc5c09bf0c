"""The result of an experiment: arrays, intervals, differences, verdicts, tables and pictures."""

from __future__ import annotations

import hashlib
import shlex
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trimtab_sim.expectations import Judgement, judge
from trimtab_sim.figures import Figures  # noqa: TC001 - msgspec reads it
from trimtab_sim.metrics import METRICS, formatted, metric
from trimtab_sim.scenario import Scenario
from trimtab_sim.sketches import Sketch
from trimtab_sim.statistics import (
    Interval,
    Warmup,
    bootstrap_interval,
    mser5,
    paired_difference,
    student_interval,
)
from trimtab_sim.tables import Table

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure

    from trimtab_sim.sketches import Quantiles

__all__ = ["Result"]

_SHOWN = (
    "success_ratio",
    "mean",
    "p99",
    "retries_per_request",
    "fairness",
    "converged",
    "traffic_off_dead",
)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Replications of one scenario under one or more strategies, on the same draws.

    Everything is computed from `runs`, so a result that was read back from bytes is complete.

    Attributes:
        source: the scenario's file or name, for the lines that replay failures.
        overrides: settings that differ from the file, by path.
        toml: the scenario, with `overrides`.
        scenario_digest: its hash.
        seed: the root seed.
        replications: their numbers; replication k has the seed `child_seed(seed, k)`.
        runs: by strategy, one per replication.
    """

    source: str
    overrides: dict[str, Any]
    toml: str
    scenario_digest: str
    depth: str
    seed: int
    replications: list[int]
    runs: dict[str, list[Figures]]

    @property
    def scenario(self) -> Scenario:
        """The scenario that was run."""
        return Scenario.from_toml(self.toml, source=self.source)

    @property
    def strategies(self) -> list[str]:
        """The strategies, in the order of the scenario."""
        return list(self.runs)

    @property
    def digest(self) -> str:
        """A hash of all runs: equal for equal results, on whatever executor they ran."""
        return hashlib.blake2b(msgspec.msgpack.encode(self), digest_size=16).hexdigest()

    # -- numbers -----------------------------------------------------------------------------

    def values(self, strategy: str, name: str) -> npt.NDArray[np.float64]:
        """Return one figure of every replication; NaN where a run has no value.

        Args:
            strategy: one of `strategies`.
            name: one of `trimtab_sim.metrics.METRICS`.
        """
        value_of = metric(name).value
        found = [value_of(run) for run in self.runs[strategy]]
        return np.array([np.nan if value is None else value for value in found])

    def interval(self, strategy: str, name: str, *, level: float = 0.95) -> Interval | None:
        """Return the mean over the replications and its interval; None if a run has no value.

        Student's, or a bootstrap's where the figure is skewed (high quantiles, maxima).
        """
        values = self.values(strategy, name)
        if np.isnan(values).any():
            return None
        interval = bootstrap_interval if metric(name).is_skewed else student_interval
        return interval(values.tolist(), level=level)

    def difference(
        self, first: str, second: str, name: str, *, level: float = 0.95
    ) -> Interval | None:
        """Return `first - second`, replication by replication, and its interval."""
        one, other = self.values(first, name), self.values(second, name)
        if np.isnan(one).any() or np.isnan(other).any():
            return None
        return paired_difference(one.tolist(), other.tolist(), level=level)

    def latency(self, strategy: str) -> Quantiles:
        """Return the times of all successful requests of all replications, as one histogram."""
        return Sketch.pool(run.latency for run in self.runs[strategy])

    def shares(self, strategy: str, replication: int = 0) -> npt.NDArray[np.float64]:
        """Return the share of each bin's attempts that went to each server: servers by bins.

        Args:
            strategy: one of `strategies`.
            replication: its place in `replications`.
        """
        run = self.runs[strategy][replication]
        sent = np.array([one.sent_by_bin for one in run.servers if one.sent_by_bin], dtype=float)
        whole = sent.sum(axis=0)
        shares: npt.NDArray[np.float64] = np.divide(
            sent, whole, out=np.zeros_like(sent), where=whole > 0
        )
        return shares

    def times_to_converge(self, strategy: str) -> npt.NDArray[np.float64]:
        """Return, for every change of every replication, the seconds that the last client took."""
        return np.array([s for run in self.runs[strategy] for s in run.convergence.last_times])

    def warmup(self, strategy: str) -> Warmup:
        """Return the warm-up that MSER-5 suggests: bins to discard, out of 240.

        A diagnostic on the mean time per bin, over all replications. It is meaningful only for
        scenarios without faults on the timeline, which have a steady state.
        """
        runs = self.runs[strategy]
        spent = np.sum([run.spent[:-1] for run in runs], axis=0)
        good = np.sum([run.good[:-1] for run in runs], axis=0)
        return mser5((spent[good > 0] / good[good > 0]).tolist())

    # -- verdicts ----------------------------------------------------------------------------

    def judgements(self) -> list[Judgement]:
        """Judge the scenario's expectations, for each strategy."""
        expect = self.scenario.expect
        return [
            found
            for strategy, runs in self.runs.items()
            for found in judge(
                expect,
                runs,
                replications=self.replications,
                replay=partial(self.replay, strategy),
            )
        ]

    @property
    def holds(self) -> bool:
        """Whether every expectation holds for the first strategy, in every replication.

        The other strategies are for comparison: a scenario that shows their weakness must not
        fail because of it.
        """
        first = next(iter(self.runs), None)
        return all(one.holds for one in self.judgements() if one.strategy == first)

    def replay(self, strategy: str, replication: int) -> str:
        """Return the command line that runs one replication again."""
        words = ["trimtab-sim", "run", self.source or "scenario.toml"]
        for path, value in self.overrides.items():
            words += ["--set", f"{path}={value}"]
        words += ["--strategy", strategy, "--seed", str(self.seed)]
        words += ["--replication", str(replication)]
        if self.depth != "core":
            words += ["--depth", self.depth]
        return shlex.join(words)

    # -- shown -------------------------------------------------------------------------------

    def table(self, names: tuple[str, ...] = _SHOWN) -> Table:
        """Return a table: strategies by figures, each with its interval."""
        chosen = [metric(name) for name in names if self._is_known(name)]
        rows = [
            (strategy, *(self._cell(strategy, one.name) for one in chosen))
            for strategy in self.runs
        ]
        count = len(self.replications)
        note = f"95 % intervals over {count} replications" if count > 1 else "one replication"
        return Table(
            self._title(),
            ("strategy", *(one.label for one in chosen)),
            rows,
            [f"{note}; depth {self.depth}, seed {self.seed}, scenario {self.scenario_digest[:12]}"],
        )

    def differences_table(self, names: tuple[str, ...] = _SHOWN) -> Table:
        """Return a table: paired differences of every two strategies by figures, with intervals."""
        chosen = [metric(name) for name in names if self._is_known(name)]
        rows = [
            (f"{first} - {second}", *(self._difference(first, second, one.name) for one in chosen))
            for first, second in combinations(self.runs, 2)
        ]
        return Table(
            "Paired differences on the same random draws",
            ("strategies", *(one.label for one in chosen)),
            rows,
            ["* zero lies outside the 95 % interval"],
        )

    def judgements_table(self) -> Table:
        """Return a table: the expectations and their verdicts."""
        rows = [
            (
                one.strategy,
                one.clause,
                one.wanted,
                one.worst,
                "holds" if one.holds else f"fails in {len(one.failed)} of {one.count}",
            )
            for one in self.judgements()
        ]
        headings = ("strategy", "expectation", "wanted", "worst", "verdict")
        return Table("Expectations", headings, rows)

    def plot_latency(self) -> Figure:
        """Draw the share of requests that took longer than a time, per strategy."""
        from trimtab_sim.pictures import draw_latency  # noqa: PLC0415 - matplotlib is slow to load

        return draw_latency(self)

    def plot_shares(self, strategy: str | None = None, replication: int = 0) -> Figure:
        """Draw each server's share of the attempts over time, with the events marked."""
        from trimtab_sim.pictures import draw_shares  # noqa: PLC0415

        return draw_shares(self, strategy or self.strategies[0], replication)

    def plot_convergence(self) -> Figure:
        """Draw how the times to converge are distributed, against their bound."""
        from trimtab_sim.pictures import draw_convergence  # noqa: PLC0415

        return draw_convergence(self)

    def to_json(self) -> str:
        """Return everything as JSON: the runs, the intervals, the verdicts."""
        intervals = {
            strategy: {name: self.interval(strategy, name) for name in METRICS}
            for strategy in self.runs
        }
        differences = [
            {"first": first, "second": second, "metric": name, "interval": found}
            for first, second in combinations(self.runs, 2)
            for name in METRICS
            if (found := self.difference(first, second, name)) is not None
        ]
        whole = {
            "holds": self.holds,
            "judgements": self.judgements(),
            "intervals": intervals,
            "differences": differences,
            "digest": self.digest,
            "result": self,
        }
        return msgspec.json.encode(whole).decode()

    def to_bytes(self) -> bytes:
        """Return the result as msgpack: the same bytes for the same experiment."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Result:
        """Read a result that `to_bytes` wrote."""
        return msgspec.msgpack.decode(data, type=cls)

    def __repr__(self) -> str:
        # All figures would be many pages.
        return str(self.table())

    def _repr_html_(self) -> str:
        parts = [self.table()]
        if len(self.runs) > 1:
            parts.append(self.differences_table())
        if self.judgements():
            parts.append(self.judgements_table())
        return "".join(part._repr_html_() for part in parts)

    def _title(self) -> str:
        name = self.scenario.about.name or self.source or "scenario"
        changed = ", ".join(f"{path} = {value}" for path, value in self.overrides.items())
        return f"{name} ({changed})" if changed else name

    def _is_known(self, name: str) -> bool:
        return any(not np.isnan(self.values(one, name)).all() for one in self.runs)

    def _cell(self, strategy: str, name: str) -> str:
        values, unit = self.values(strategy, name), metric(name).unit
        found = self.interval(strategy, name)
        if found is None:
            known = values[~np.isnan(values)]
            return formatted(float(known.mean()) if len(known) else None, unit)
        return formatted(found.estimate, unit, half_width=found.half_width)

    def _difference(self, first: str, second: str, name: str) -> str:
        found = self.difference(first, second, name)
        if found is None:
            return "-"
        mark = "" if found.contains(0.0) else "*"
        sign = "+" if found.estimate > 0 else ""
        text = formatted(found.estimate, metric(name).unit, half_width=found.half_width)
        return f"{sign}{text}{mark}"
