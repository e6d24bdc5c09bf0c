"""Where discovery runs: on the caller's asyncio loop, or on the background's."""

import asyncio
import threading

import anyio
import pytest

from trimtab.background import background
from trimtab.discovery import Home
from trimtab.discovery.hub import Hub
from trimtab_sim.loop import run


async def thread_name():
    return threading.current_thread().name


def test_asyncio_is_its_own_home():
    async def main():
        home, called = Home.for_async(), []
        loop = asyncio.get_running_loop()
        assert (home.loop, home.hub) == (loop, Hub.of(loop))
        assert home.clock() == loop.time()
        assert await home.run(thread_name) == threading.current_thread().name
        home.soon(lambda: called.append(1))
        assert not called
        await asyncio.sleep(0)
        assert called

    run(main())


def test_synchronous_code_is_at_home_on_the_background():
    home, called = Home.for_sync(), threading.Event()
    assert home.loop is background().loop
    assert home.run_blocking(thread_name()) == "trimtab"
    home.soon(called.set)
    assert called.wait(10)


def test_other_async_libraries_are_at_home_on_the_background():
    async def main():
        home = Home.for_async()
        assert home.loop is background().loop
        return await home.run(thread_name)

    assert anyio.run(main, backend="trio") == "trimtab"


def test_errors_come_back_through_other_libraries():
    async def fail():
        raise KeyError("a")

    async def main():
        with pytest.raises(KeyError):
            await Home.for_async().run(fail)

    anyio.run(main, backend="trio")


def test_what_is_done_at_home_is_done_at_once_on_the_callers_own_loop():
    async def main():
        home, called = Home.for_async(), []
        home.do(lambda: called.append(1))
        assert called == [1]
        home.soon_from_anywhere(lambda: called.append(2))
        assert called == [1]
        await asyncio.sleep(0)
        assert called == [1, 2]

    run(main())


def test_what_is_done_at_home_from_elsewhere_is_done_there():
    home, called, done = Home.for_sync(), [], threading.Event()

    def note():
        called.append(threading.current_thread().name)
        if len(called) == 2:
            done.set()

    home.do(note)
    home.soon_from_anywhere(note)
    assert done.wait(10)
    assert called == ["trimtab"] * 2


def test_what_comes_after_the_loops_end_is_dropped():
    async def main():
        return Home.for_async()

    home = asyncio.run(main())
    home.soon_from_anywhere(lambda: None)
