"""One directory in programs of many shapes: forks, threads, several event loops, scripts."""

import subprocess
import sys
import textwrap

import pytest

from trimtab import Instance, register
from trimtab.server import EmbeddedRegistry

LIMIT_S = 60.0

FORKING = """
    import asyncio, os, signal, sys, time
    from trimtab import Directory, Instance, register

    directory = Directory(sys.argv[1])
    held = directory.sync()

    def sizes():
        return len(held.instances("orders")), len(asyncio.run(in_async_code()))

    async def in_async_code():
        return await directory.instances("orders")

    def wait_for(size):
        ends_at = time.monotonic() + 30
        while len(held.instances("orders")) != size:
            assert time.monotonic() < ends_at, held.instances("orders")
            time.sleep(0.01)

    assert sizes() == (2, 2)
    watching = held.watch("orders")
    assert len(next(watching).instances) == 2
    here, there = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(30)
            assert sizes() == (2, 2)
            assert len(next(watching).instances) == 2
            os.write(here[1], b"!")
            wait_for(3)
            assert len(next(watching).instances) == 3
            watching.close()
            held.close()
            code = 42
        finally:
            {leaving}
    assert os.read(here[0], 1) == b"!"
    with register(sys.argv[1], "orders", Instance(host="10.0.0.1", port=3)):
        wait_for(3)
        assert len(next(watching).instances) == 3
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
        assert len(held.instances("orders")) == 3, "the parent goes on"
    watching.close()
    held.close()
"""

SCRIPT = """
    import sys
    from trimtab import Directory

    directory = Directory(sys.argv[1]).sync()
    print(directory.services(), [one.address for one in directory.instances("orders")])
"""


@pytest.fixture
def url():
    with (
        EmbeddedRegistry() as registry,
        register(registry.url, "orders", Instance(host="10.0.0.1", port=1)),
        register(registry.url, "orders", Instance(host="10.0.0.1", port=2)),
    ):
        yield registry.url


def run(program, *arguments):
    # Newer Pythons warn of forks in programs with threads, which this is about.
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.parametrize("leaving", ["os._exit(code)", "sys.exit(code)"])
def test_a_forked_child_has_fresh_lists_and_the_parent_goes_on(url, leaving):
    done = run(textwrap.dedent(FORKING).replace("{leaving}", leaving), url)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_script_that_closes_nothing_ends_without_a_word(url):
    done = run(textwrap.dedent(SCRIPT), url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "['orders'] ['10.0.0.1:1', '10.0.0.1:2']\n"
