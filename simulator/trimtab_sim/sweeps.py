"""The outcome of a sweep: one result per point of its grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trimtab_sim.metrics import formatted, metric
from trimtab_sim.result import Result  # noqa: TC001 - msgspec reads it
from trimtab_sim.tables import Table

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure

    from trimtab_sim.metrics import Metric

__all__ = ["Sweep"]

_SHOWN = ("success_ratio", "mean", "p99", "retries_per_request", "converged")


@dataclass(frozen=True, slots=True)
class _Point:
    """A strategy at one point of the grid."""

    result: Result
    strategy: str

    def mean(self, one: Metric) -> float:
        """Return the mean of a figure; NaN where a run has no value."""
        return float(np.mean(self.result.values(self.strategy, one.name)))

    def shown(self, one: Metric) -> str:
        """Return the mean of a figure for people."""
        return formatted(self.mean(one), one.unit)


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """Results by settings.

    Attributes:
        paths: the settings that were varied.
        results: one per point, the last path varying fastest; `overrides` holds its settings.
    """

    paths: list[str]
    results: list[Result]

    @property
    def digest(self) -> str:
        """A hash of all results: equal for equal sweeps, on whatever executor they ran."""
        return hashlib.blake2b(msgspec.msgpack.encode(self), digest_size=16).hexdigest()

    @property
    def strategies(self) -> list[str]:
        """The strategies of all points."""
        return list(dict.fromkeys(name for result in self.results for name in result.runs))

    @property
    def holds(self) -> bool:
        """Whether the expectations hold at every point; see `Result.holds`."""
        return all(result.holds for result in self.results)

    def settings(self, path: str) -> list[Any]:
        """Return the setting of each point."""
        return [result.overrides[path] for result in self.results]

    def values(self, strategy: str, name: str) -> npt.NDArray[np.float64]:
        """Return one figure: points by replications; NaN where a run has no value."""
        return np.array([result.values(strategy, name) for result in self.results])

    def table(self, names: tuple[str, ...] = _SHOWN) -> Table:
        """Return a table: points and strategies by figures."""
        rows: list[tuple[str, ...]] = []
        tables = [result.table(names) for result in self.results]
        headings = max((table.headings for table in tables), key=len)
        for result, table in zip(self.results, tables, strict=True):
            point = [str(result.overrides[path]) for path in self.paths]
            for row in table.rows:
                by_heading = dict(zip(table.headings, row, strict=True))
                rows.append((*point, *(by_heading.get(heading, "-") for heading in headings)))
        return Table("Sweep", (*self.paths, *headings), rows, tables[0].notes[:1])

    def plot(self, name: str = "p99") -> Figure:
        """Draw one figure against the first setting, a line per strategy."""
        from trimtab_sim.pictures import draw_sweep  # noqa: PLC0415 - matplotlib is slow to load

        return draw_sweep(self, name)

    def to_json(self) -> str:
        """Return every point as JSON; see `Result.to_json`."""
        points = ",".join(result.to_json() for result in self.results)
        paths = msgspec.json.encode(self.paths).decode()
        holds = msgspec.json.encode(self.holds).decode()
        return f'{{"holds":{holds},"paths":{paths},"points":[{points}]}}'

    def best(self, name: str = "p99") -> str:
        """Return a sentence: the point and strategy with the best mean of a figure.

        If another one has more successes, the sentence says so: a point that drops the slow
        requests has the best latency.

        Raises:
            ScenarioError: the figure is unknown.
        """
        one, success = metric(name), metric("success_ratio")
        best = self._best(one)
        if best is None:
            return f"no point has a value of {one.label}"
        safest = self._best(success)
        text = f"best {one.label}: {best.shown(one)} with {self._named(best)}"
        ratio = best.mean(success)
        if safest is None or one is success or not ratio < safest.mean(success):
            return text
        return (
            f"{text}; but there {success.label} is {formatted(ratio, success.unit)}, and it is "
            f"{safest.shown(success)} (with {one.label} {safest.shown(one)}) with "
            f"{self._named(safest)}"
        )

    def _best(self, one: Metric) -> _Point | None:
        sign = -1.0 if one.is_better_high else 1.0
        points = [_Point(result, name) for result in self.results for name in result.runs]
        known = [point for point in points if not np.isnan(point.mean(one))]
        return min(known, key=lambda point: sign * point.mean(one), default=None)

    def _named(self, point: _Point) -> str:
        settings = ", ".join(f"{path} = {point.result.overrides[path]}" for path in self.paths)
        return f"{point.strategy} at {settings}"

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
