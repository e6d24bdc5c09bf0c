"""Real I/O is blocked in a simulated program, and allowed everywhere else."""

import asyncio
import socket
import subprocess
import sys
import threading
import time

import anyio.to_thread
import pytest

from trimtab_sim.errors import SimulationError
from trimtab_sim.fences import fences
from trimtab_sim.loop import run


def refused(act, remedy):
    async def attempt():
        outcome = act()
        if outcome is not None:
            await outcome

    async def main():
        with pytest.raises(SimulationError, match=remedy):
            await attempt()

    run(main())


def test_starting_a_thread():
    refused(lambda: threading.Thread(target=print).start(), "cannot start a thread: call the work")


def test_threads_by_way_of_asyncio_and_anyio():
    refused(lambda: asyncio.to_thread(print), "executor")
    refused(lambda: anyio.to_thread.run_sync(print), "start a thread")


def test_real_sockets():
    refused(lambda: socket.create_connection(("127.0.0.1", 9)), "simulated transport")
    refused(lambda: asyncio.open_connection("127.0.0.1", 9), "simulated transport")
    refused(lambda: asyncio.start_server(print, "127.0.0.1", 0), "simulated transport")
    with socket.socket() as unconnected:
        refused(lambda: unconnected.connect(("127.0.0.1", 9)), "simulated transport")
        refused(lambda: unconnected.connect_ex(("127.0.0.1", 9)), "simulated transport")


def test_names_and_descriptors():
    refused(lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80), "names cannot")
    refused(lambda: asyncio.get_running_loop().add_reader(0, print), "for file descriptors")


def test_processes():
    refused(lambda: asyncio.create_subprocess_exec(sys.executable), "start a process")
    refused(lambda: subprocess.run([sys.executable, "-c", ""], check=True), "start a process")


def test_a_real_sleep():
    refused(lambda: time.sleep(100), "asyncio.sleep")  # noqa: TID251 - it must be refused


def test_after_the_run_all_doors_are_open():
    run(asyncio.sleep(1))
    assert "connect" not in vars(socket.socket)
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join(10)


def test_another_thread_passes_while_this_one_simulates():
    passed, wanted = threading.Event(), threading.Event()

    def outside():
        wanted.wait(10)
        inner = threading.Thread(target=passed.set)
        inner.start()
        inner.join(10)

    helper = threading.Thread(target=outside)
    helper.start()

    async def main():
        wanted.set()
        return passed.wait(10)

    assert run(main())
    helper.join(10)


def test_fences_nest():
    before = threading.Thread.start
    with fences(), fences():
        assert threading.Thread.start is not before
    assert threading.Thread.start is before


def test_the_doors_open_again_after_an_error():
    before = threading.Thread.start

    async def main():
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run(main())
    assert threading.Thread.start is before
