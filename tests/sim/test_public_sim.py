import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import trimtab_sim
from trimtab_sim.cli import main

ROOT = Path(__file__).resolve().parents[2]

BARE = """
import sys
for name in ("simpy", "numpy", "scipy", "rich", "cyclopts", "matplotlib", "tomli_w"):
    sys.modules[name] = None
import trimtab_sim
print(trimtab_sim.__doc__.splitlines()[0])
try:
    trimtab_sim.run
except ImportError as error:
    print(error)
from trimtab_sim.cli import main
print(main(["list"]))
"""


def test_every_public_name_is_available():
    assert trimtab_sim.__all__ == sorted(trimtab_sim.__all__)
    assert set(trimtab_sim.__all__) == set(trimtab_sim._PLACES)
    for name in trimtab_sim.__all__:
        assert getattr(trimtab_sim, name) is not None
    assert set(trimtab_sim.__all__) <= set(dir(trimtab_sim))


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        trimtab_sim.nonsense  # noqa: B018 - that it raises is the point


def test_without_the_extra_the_package_imports_and_names_it():
    done = subprocess.run(
        [sys.executable, "-c", BARE], capture_output=True, text=True, timeout=60, check=False
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "Trimtab's simulator: the shipping SDK in virtual time."
    assert lines[1].startswith("trimtab_sim.run needs ")
    assert lines[1].endswith("run: pip install 'trimtab[sim]'")
    assert lines[2] == "2"
    assert "pip install 'trimtab[sim]'" in done.stderr


def test_every_package_of_the_extra_is_asked_for_before_anything_runs(monkeypatch, capsys):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["sim"]
    packages = [re.split(r"[<>=\[ ]", each)[0].replace("-", "_") for each in extra]
    assert packages
    for package in packages:
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, package, None)
            assert main(["list"]) == 2
        said = capsys.readouterr().err
        assert f"needs {package}, which is not installed" in said
