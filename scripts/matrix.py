"""Run unit, property and contract tests on every Python that is installed here.

`python scripts/matrix.py [--others] [NAME ...]`. Each Python has a virtual environment of its own,
`.venv-3.12.1`, which is kept and made anew only when pyproject.toml changes. The row `lowest` runs
the unit tests with the lowest version of every dependency that pyproject.toml permits. NAMEs are
versions or `lowest`; all by default. `--others` leaves out the version that runs this script.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYPROJECT = ROOT / "pyproject.toml"
OLDEST = (3, 11)
FOLDERS = ("tests/unit", "tests/property", "tests/contract")
LOWEST = "lowest"
BOTH = ("-n", "2", "--dist", "worksteal")
_WHICH = "import platform, sys; print(platform.python_version(), sys.executable, sep='\\n')"


def main(arguments: list[str]) -> int:
    """Run the rows that are asked for; return 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--others", action="store_true")
    wanted = parser.parse_args(arguments)
    rows = {**installed(), LOWEST: Path(sys.executable)}
    if wanted.others:
        rows.pop(platform.python_version(), None)
    unknown = set(wanted.names) - set(rows)
    if unknown:
        parser.error(
            f"not installed here: {', '.join(sorted(unknown))}; there are {', '.join(rows)}"
        )
    results = {name: run(name, rows[name]) for name in wanted.names or rows}
    for name, (passed, seconds) in results.items():
        print(f"{'ok    ' if passed else 'FAILED'} {name} in {seconds:.0f} s")
    return 0 if all(passed for passed, _ in results.values()) else 1


def installed() -> dict[str, Path]:
    """Find the Pythons from 3.11 on: those on PATH, Debian's own, and pyenv's."""
    folders = [*os.environ["PATH"].split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [Path(folder) for folder in folders] + sorted(pyenv.glob("versions/*/bin"))
    names = ("python3", *(f"python3.{minor}" for minor in range(OLDEST[1], 20)))
    found: dict[tuple[int, ...], Path] = {}
    for path in (place / name for place in places for name in names):
        # An environment is no installation.
        if path.exists() and not (path.parents[1] / "pyvenv.cfg").exists():
            asked = subprocess.run(
                [path, "-c", _WHICH], capture_output=True, text=True, check=False
            )
            version, _, executable = asked.stdout.strip().partition("\n")
            if version.replace(".", "").isdecimal():  # Neither a preview nor an error.
                found.setdefault(tuple(map(int, version.split("."))), Path(executable))
    return {
        ".".join(map(str, version)): path
        for version, path in sorted(found.items())
        if version >= OLDEST
    }


def run(name: str, python: Path) -> tuple[bool, float]:
    """Run the tests of one row; return whether they passed, and the seconds that it took."""
    began = time.monotonic()
    print(f"== {name}", flush=True)
    venv = ROOT / f".venv-{name}"
    folders = FOLDERS[:1] if name == LOWEST else FOLDERS
    command = [venv / "bin" / "pytest", *folders, "-q", *BOTH, "-m", "not soak"]
    ended = install(venv, python) and subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    return ended, time.monotonic() - began


def install(venv: Path, python: Path) -> bool:
    """Install the package with its extras and what its tests need, unless it is there."""
    stamp = venv / ".installed"
    state = hashlib.sha256(PYPROJECT.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == state:
        return True
    options = ["--quiet", "--python", str(venv / "bin" / "python")]
    if not uv("venv", "--quiet", "--clear", "--python", str(python), str(venv)):
        return False
    if venv.name.endswith(LOWEST):
        bounds = venv / "lowest.txt"
        lowest = ["--quiet", "--resolution", "lowest-direct", "--all-extras", "-o", str(bounds)]
        if not uv("pip", "compile", *options[1:], *lowest, "--no-header", str(PYPROJECT)):
            return False
        options += ["--constraints", str(bounds)]
    if not uv("pip", "install", *options, "--editable", ".[all]", "--group", "dev"):
        return False
    stamp.write_text(state)
    return True


def uv(*arguments: str) -> bool:
    """Run uv, which makes an environment in seconds; it comes with the development tools."""
    command = [Path(sys.executable).with_name("uv"), *arguments]
    # The system's certificates, as pip has them: behind a proxy of one's own, uv's do not do.
    own = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    return (
        subprocess.run(command, cwd=ROOT, env=own, check=False, stdout=sys.stderr).returncode == 0
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
