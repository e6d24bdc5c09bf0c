"""Search for a schedule of faults under which an invariant breaks, and shrink it.

Hypothesis draws small scenarios (`schedules`), each is simulated once, and `invariants` reports
what does not hold. A scenario that breaks an invariant is shrunk and written to a file that can be
run again.
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
"""The time for shrinking, as a share of the time that the search took, ..."""
_LEAST_SHRINKING_S = 5.0
"""... and at least this."""
_UNLIMITED = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A scenario under which an invariant does not hold.

    Attributes:
        complaints: the broken invariants, one sentence each.
        path: the scenario's file; None when it was not written.
        command: the command that runs it again.
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
        """The number of entries of the timeline and of churn processes."""
        return len(self.scenario.timeline) + len(self.scenario.churn)

    def __str__(self) -> str:
        lines = [f"  {line}" for line in self.complaints[:5]]
        if len(self.complaints) > len(lines):
            lines.append(f"  and {len(self.complaints) - len(lines)} more")
        where = [] if self.path is None else [f"written to {self.path}"]
        return "\n".join(["broken:", *lines, *where, f"again: {self.command}"])


@dataclass(slots=True, kw_only=True)
class FuzzResult:
    """The outcome of a search.

    Attributes:
        examples: how many scenarios were run, those of shrinking included.
        seconds: how long it took, in real time.
        finding: the smallest scenario that breaks an invariant; None when all held.
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
    """End a search from within; no Exception, which Hypothesis takes for a failing example."""


@dataclass(slots=True)
class _Search:
    """Run examples until the time is up, and keep the smallest that breaks an invariant."""

    seed: int
    depth: Depth
    until: float
    started: float = field(default_factory=time.monotonic)
    examples: int = 0
    smallest: Finding | None = None

    def run_example(self, scenario: Scenario) -> None:
        """Run one scenario; keep it and raise if an invariant does not hold."""
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
        time_s: how long to search. Shrinking may take longer.
        max_examples: the most scenarios to run, shrinking included.
        out_dir: where to write the finding, `fuzz-<digest>.toml`; created if missing.
        strategies: the SDK's strategies to search with.
        depth: that of the simulation.
    """
    search = _Search(seed, depth, time.monotonic() + time_s)

    @hypothesis.seed(seed)
    @settings(
        max_examples=max_examples or _UNLIMITED,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(scenarios(strategies))
    def examples(scenario: Scenario) -> None:
        search.run_example(scenario)

    try:
        with quiet():
            examples()
    except (_TimeUpError, AssertionError):
        pass
    return FuzzResult(
        seed=seed,
        examples=search.examples,
        seconds=time.monotonic() - search.started,
        finding=search.smallest and _saved(_with_fewer_events(search.smallest), out_dir),
    )


def replay(scenario: Scenario, *, seed: int = 1, depth: Depth = "core") -> list[str]:
    """Run a scenario once; return what does not hold, or an empty list."""
    with quiet():
        try:
            return complaints(simulate(scenario, seed=seed, depth=depth))
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            return [f"the run failed: {type(error).__name__}: {error}"]


def _with_fewer_events(finding: Finding) -> Finding:
    """Remove one event after another while an invariant stays broken: shrinking may be cut off."""
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


def _saved(finding: Finding, out_dir: str | Path | None) -> Finding:
    if out_dir is None:
        return finding
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"fuzz-{finding.scenario.digest[:12]}.toml"
    finding = replace(finding, path=path)
    head = [f"# {line}".rstrip() for line in str(finding).splitlines()]
    path.write_text("\n".join([*head, "", finding.scenario.to_toml()]), encoding="utf-8")
    return finding
