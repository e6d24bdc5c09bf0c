"""The outcome of a sweep: one result per point of its grid."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trimtab_sim.metrics import formatted, metric
from trimtab_sim.result import Result  # noqa: TC001 - msgspec reads it
from trimtab_sim.tables import Table

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure

__all__ = ["Sweep"]

_SHOWN = ("success_ratio", "mean", "p99", "retries_per_request", "converged")


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
        """Whether every expectation holds at every point."""
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
        return f'{{"paths":{msgspec.json.encode(self.paths).decode()},"points":[{points}]}}'

    def best(self, name: str = "p99") -> str:
        """Return a sentence: the point and strategy with the best mean of a figure."""
        one = metric(name)
        sign = -1.0 if one.is_better_high else 1.0
        candidates = [
            (sign * float(np.mean(values)), result, strategy)
            for result in self.results
            for strategy in result.runs
            if not np.isnan(values := result.values(strategy, name)).any()
        ]
        if not candidates:
            return f"no point has a value of {one.label}"
        value, result, strategy = min(candidates, key=lambda candidate: candidate[0])
        point = ", ".join(f"{path} = {result.overrides[path]}" for path in self.paths)
        return f"best {one.label}: {formatted(sign * value, one.unit)} with {strategy} at {point}"

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
