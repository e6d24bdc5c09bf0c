"""The programs of docs/balancer.md, against real servers of which one is dead."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from balancer_kit import on_steady_port, registry_of, three
from real.redis import REDIS, Redis
from real.server import running

PAGE = (Path(__file__).parents[2] / "docs" / "balancer.md").read_text(encoding="utf-8")
BLOCKS = re.findall(
    r"^```python\n(.*?)^```\n\n```output\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE
)
TIMES = 6
"""So that the dead server is picked first in some of them."""


def test_every_program_has_its_servers():
    clients = [
        re.findall(r"^import (aiohttp|grpc|redis)$", code, re.MULTILINE) for code, _ in BLOCKS
    ]
    assert clients == [["aiohttp"], ["grpc"], ["redis"]]
    assert PAGE.count("```python") == len(BLOCKS)


def run(block, registry):
    code, output = block
    program = f"REGISTRY = {registry!r}\nfor _ in range({TIMES}):\n    exec({code!r})\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (output * TIMES, "", 0)


@pytest.mark.parametrize(("number", "kind"), [(0, "aiohttp"), (1, "grpc")], ids=["aiohttp", "grpc"])
def test_programs_run_and_print_what_they_say(number, kind, tmp_path):
    with three(kind, tmp_path) as servers:
        servers[0].kill()
        run(BLOCKS[number], registry_of(servers))


@pytest.mark.real
def test_the_program_for_redis_runs_and_prints_what_it_says(tmp_path):
    with contextlib.ExitStack() as stack:
        servers = [on_steady_port(Redis(REDIS, tmp_path / name)) for name in "abc"]
        for server in servers:
            stack.enter_context(running(server))
        servers[0].kill()
        run(BLOCKS[2], registry_of(servers))
