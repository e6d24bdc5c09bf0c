"""Change the decision rooms in small ways, one at a time, and count the changes that tests notice.

    python scripts/mutation.py                   pool, health, retry and strategies: half an hour
    python scripts/mutation.py retry             one of them: minutes
    python scripts/mutation.py retry --survivors left.diff

It runs mutmut over a copy, in a directory of its own, since mutmut writes beside what it reads and
knows sources only by the names `src`, `source` and `.`. Only fast tests take part: the properties,
simulations and real servers would find more, and take days.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEAST_KILLED_PERCENT = 90.0
NOTICED = {"killed", "timeout", "segfault"}

# Per room, which tests are asked: those that are about it, of tests/unit unless told.
TESTS = {
    "pool": [
        *("pool*", "monitor", "concurrency", "panic", "slow_start", "subsetting", "call"),
        "client_side_weighted_round_robin",
    ],
    "health": [
        "outliers_*",
        "monitor",
        "slow_start",
        "panic",
        "probing",
        "policies",
    ],
    "retry": ["retry", "hedge", "quantiles", "call"],
    "strategies": [
        *("strategies", "strategy_*", "specifications_selection", "ring_hash", "maglev"),
        *("client_side_weighted_round_robin", "least_request_variants", "load_report"),
        "least_load",
        *("zone_aware", "pool", "contract/strategy_contract"),
    ],
}

# Whatever mutmut wraps costs more, so what a call costs is not asked.
SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {sources}
also_copy = ["simulator"]
pytest_add_cli_args = ["-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider", "-q",
                       "--hypothesis-seed=0", "-k", "not costs_the_same"]
pytest_add_cli_args_test_selection = {tests}
"""


def main() -> int:
    """Run mutmut over each room; tell the figures; fail if too few changes were noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", default=[*TESTS], help=", ".join(TESTS))
    parser.add_argument("--survivors", type=Path, help="where to write what was not noticed")
    parser.add_argument("--timeout-s", type=float, default=3600.0, help="at most so long per room")
    arguments = parser.parse_args()
    diffs, is_enough = [], True
    for room in arguments.rooms:
        with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
            place = Path(directory)
            prepare(place, room)
            found = mutate(place, arguments.timeout_s)
            is_enough &= tell(room, found)
            if arguments.survivors:
                diffs += [diff(place, name) for name in found["survived"] + found["no tests"]]
                arguments.survivors.write_text("\n".join(diffs))
    return 0 if is_enough else 1


def prepare(place: Path, room: str) -> None:
    """Copy sources and tests, and write mutmut's settings."""
    clean = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sdk", place / "src", ignore=clean)
    for name in ("simulator", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=clean)
    tests = []
    for pattern in TESTS[room]:
        folder, _, name = pattern.rpartition("/")
        found = (ROOT / "tests" / (folder or "unit")).glob(f"test_{name}.py")
        tests += [str(path.relative_to(ROOT)) for path in sorted(found)]
    settings = SETTINGS.format(sources=[f"src/trimtab/{room}/*.py"], tests=tests)
    (place / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + settings)


def mutate(place: Path, timeout_s: float) -> dict[str, list[str]]:
    """Run mutmut; return the names of the changes, by what became of them."""
    run = subprocess.run(
        [*MUTMUT, "run", "--max-children", "2"],
        cwd=place,
        timeout=timeout_s,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        sys.exit(f"mutmut failed:\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}")
    found = defaultdict(list)
    for line in _output(place, "results", "--all", "true").splitlines():
        name, _, outcome = line.strip().partition(": ")
        if outcome:
            found[outcome].append(name)
    return found


def tell(room: str, found: dict[str, list[str]]) -> bool:
    """Print the figures of a room; say whether enough was noticed."""
    counts = Counter({outcome: len(names) for outcome, names in found.items()})
    noticed, total = sum(counts[outcome] for outcome in NOTICED), counts.total()
    percent = 100 * noticed / max(total, 1)
    listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    print(f"{room}: {total} changes, {listed}: {percent:.1f} % noticed", flush=True)
    return percent >= LEAST_KILLED_PERCENT


def diff(place: Path, name: str) -> str:
    """Return what a change consists of."""
    return f"# {name}\n{_output(place, 'show', name)}"


def _output(place: Path, *arguments: str) -> str:
    run = subprocess.run(
        [*MUTMUT, *arguments], cwd=place, capture_output=True, text=True, check=True
    )
    return run.stdout


MUTMUT = [sys.executable, "-m", "mutmut"]

if __name__ == "__main__":
    sys.exit(main())
