"""`Balancer` with grpcio: runs `balancer_grpc_cases.py` in a process of its own.

Once grpcio has been used, its threads make a later fork of the process unsafe, and others do fork.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).with_name("balancer_grpc_cases.py")


def test_the_cases_hold_in_a_process_of_their_own():
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--timeout", "100"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, CASES],
        cwd=CASES.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert "7 passed" in done.stdout
