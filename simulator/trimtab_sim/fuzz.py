"""Look for a schedule of faults under which an invariant breaks, and make it small.

Hypothesis draws small worlds (`schedules`), each is simulated once, and `invariants` says what
does not hold. What breaks is shrunk and written as a scenario that anybody can run again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import msgspec
from hypothesis import HealthCheck, Phase, given, settings

from trimtab.strategies import STRATEGIES
from trimtab_sim.invariants import complaints
from trimtab_sim.schedules import scenarios
from trimtab_sim.simulation import quiet, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab_sim.scenario import Scenario
    from trimtab_sim.simulation import Depth

__all__ = ["Finding", "FuzzResult", "fuzz", "replay"]

_SHRINKING_RATIO = 0.5
"""How much of the time that it took to find something may be spent on making it smaller, ..."""
_LEAST_SHRINKING_S = 5.0
"""... but at least so much."""
_EXAMPLES_WITHOUT_END = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A scenario under which something does not hold.

    Attributes:
        complaints: what does not, one sentence each.
        path: the scenario's file; None when none was asked for.
        command: how to see it again.
    """

    scenario: Scenario
    complaints: tuple[str, ...]
    seed: int
    depth: Depth
    path: Path | None = None

    @property
    def command(self) -> str:
        """The command line that runs it again."""
        name = "FOUND.toml" if self.path is None else str(self.path)
        return f"trimtab-sim fuzz --replay {name} --seed {self.seed} --depth {self.depth}"

    @property
    def events(self) -> int:
        """How many things happen in it: entries of the timeline, and churn processes."""
        return len(self.scenario.timeline) + len(self.scenario.churn)

    def __str__(self) -> str:
        lines = [f"  {line}" for line in self.complaints[:5]]
        if len(self.complaints) > len(lines):
            lines.append(f"  and {len(self.complaints) - len(lines)} more")
        where = [] if self.path is None else [f"written to {self.path}"]
        return "\n".join(["broken:", *lines, *where, f"again: {self.command}"])


@dataclass(slots=True, kw_only=True)
class FuzzResult:
    """What a search gave.

    Attributes:
        examples: how many scenarios were run, those of shrinking included.
        seconds: how long it took, by the wall.
        finding: the smallest scenario that breaks something; None when nothing did.
    """

    seed: int
    examples: int = 0
    seconds: float = 0.0
    finding: Finding | None = None

    def __str__(self) -> str:
        searched = f"{self.examples} scenarios in {self.seconds:.1f} s, seed {self.seed}"
        if self.finding is None:
            return f"{searched}: every invariant held"
        return f"{searched}; {self.finding}"


class _TimeUpError(BaseException):
    """Ends a search from within; no exception, so that nobody takes it for a failing example."""


@dataclass(slots=True)
class _Search:
    """Runs examples until the time is up, and keeps the smallest that breaks."""

    seed: int
    depth: Depth
    until: float
    started: float = field(default_factory=time.monotonic)
    examples: int = 0
    smallest: Finding | None = None

    def look(self, scenario: Scenario) -> None:
        """Run one; note it and raise if something does not hold."""
        if time.monotonic() > self.until:
            raise _TimeUpError
        self.examples += 1
        found = replay(scenario, seed=self.seed, depth=self.depth)
        if not found:
            return
        if self.smallest is None:
            now = time.monotonic()
            spent_s = now - self.started
            self.until = now + max(_LEAST_SHRINKING_S, _SHRINKING_RATIO * spent_s)
        finding = Finding(
            scenario=scenario, complaints=tuple(found), seed=self.seed, depth=self.depth
        )
        if self.smallest is None or _size(finding) <= _size(self.smallest):
            self.smallest = finding
        raise AssertionError(found[0])


def fuzz(
    *,
    seed: int = 1,
    time_s: float = 60.0,
    max_examples: int | None = None,
    out_dir: str | Path | None = None,
    strategies: Sequence[str] = tuple(STRATEGIES),
    depth: Depth = "core",
) -> FuzzResult:
    """Search for a broken invariant.

    Args:
        seed: of the search and of every run; the same seed searches in the same order.
        time_s: how long to search. What is found is made smaller for a while after that.
        max_examples: end after so many, should the time not be up before.
        out_dir: where to write what is found, `fuzz-<digest>.toml`; made if need be.
        strategies: the SDK's strategies to search with.
        depth: that of the simulation.
    """
    search = _Search(seed, depth, time.monotonic() + time_s)

    @hypothesis.seed(seed)
    @settings(
        max_examples=max_examples or _EXAMPLES_WITHOUT_END,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(scenarios(strategies))
    def look(scenario: Scenario) -> None:
        search.look(scenario)

    try:
        with quiet():
            look()
    except (_TimeUpError, AssertionError):
        pass
    return FuzzResult(
        seed=seed,
        examples=search.examples,
        seconds=time.monotonic() - search.started,
        finding=search.smallest and _written(_thinned(search.smallest), out_dir),
    )


def replay(scenario: Scenario, *, seed: int = 1, depth: Depth = "core") -> list[str]:
    """Run a scenario once and return what does not hold; nothing when all is well."""
    with quiet():
        try:
            return complaints(simulate(scenario, seed=seed, depth=depth))
        except Exception as error:  # noqa: BLE001 - whatever breaks a run is what is looked for
            return [f"the run failed: {type(error).__name__}: {error}"]


def _thinned(finding: Finding) -> Finding:
    """Leave out one thing after the other for as long as it stays broken: shrinking was cut off."""
    for name in ("timeline", "churn"):
        place = 0
        while place < len(entries := getattr(finding.scenario, name)):
            fewer = {name: (*entries[:place], *entries[place + 1 :])}
            scenario = msgspec.structs.replace(finding.scenario, **fewer)
            found = replay(scenario, seed=finding.seed, depth=finding.depth)
            if found:
                finding = replace(finding, scenario=scenario, complaints=tuple(found))
            else:
                place += 1
    return finding


def _size(finding: Finding) -> tuple[int, int]:
    return finding.events, len(finding.scenario.to_toml())


def _written(finding: Finding, out_dir: str | Path | None) -> Finding:
    if out_dir is None:
        return finding
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"fuzz-{finding.scenario.digest[:12]}.toml"
    finding = replace(finding, path=path)
    head = [f"# {line}".rstrip() for line in str(finding).splitlines()]
    path.write_text("\n".join([*head, "", finding.scenario.to_toml()]), encoding="utf-8")
    return finding
