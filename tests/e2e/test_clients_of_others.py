"""The clients of other packages over `BalancedTransport`: runs the cases of `tests/clients`.

They have an environment of their own, since their bounds are none of ours.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "clients"
pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def python():
    made = subprocess.run(
        ["bash", ROOT / "scripts" / "clients_venv.sh"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return made.stdout.strip()


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("anthropic", ""),
        ("authlib", "httpx"),
        ("authlib", "httpx2"),
        ("hishel", ""),
        ("httpx_sse", ""),
        ("httpx_ws", ""),
        ("openai", ""),
        ("opentelemetry", ""),
        ("respx", ""),
    ],
)
def test_cases(python, name, family):
    command = [python, "-m", "pytest", "-q", "-c", CASES / "pytest.ini", CASES / f"{name}_cases.py"]
    environment = {**os.environ, **({"AUTHLIB_FAMILY": family} if family else {})}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    print(f"\n{name} {family} {done.stdout.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_no_call_that_can_be_repeated_fails_while_an_instance_is_ill(python):
    command = [python, CASES / "fault_table.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
