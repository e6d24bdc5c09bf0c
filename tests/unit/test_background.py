"""The one thread behind synchronous code."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from trimtab import background as background_module
from trimtab.background import Background, background, close_soon, on_fork


@pytest.fixture
def own():
    own = Background()
    yield own
    own.stop()


async def thread_name():
    return threading.current_thread().name


def test_there_is_one_and_it_runs_coroutines_on_its_own_thread():
    assert background() is background()
    assert background().run(thread_name()) == "trimtab"


def test_results_and_errors_come_back(own):
    async def fail():
        raise KeyError("a")

    assert own.run(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(KeyError):
        own.run(fail())


def test_a_synchronous_call_on_the_background_thread_is_refused(own):
    async def call_back():
        own.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match=r"own background thread.*use the async interface"):
        own.run(call_back())


def test_a_caller_that_is_interrupted_cancels_what_it_waits_for(own, monkeypatch):
    started, ended = threading.Event(), threading.Event()

    async def wait():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    real = asyncio.run_coroutine_threadsafe

    def interrupted(coroutine, loop):
        future = real(coroutine, loop)
        assert started.wait(10)

        def result():
            raise KeyboardInterrupt

        future.result = result
        return future

    monkeypatch.setattr(background_module.asyncio, "run_coroutine_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        own.run(wait())
    assert ended.wait(10)


def test_stopping_cancels_what_runs_and_closes_the_loop():
    own, seen = Background(), []

    async def serve():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def start():
        return asyncio.ensure_future(serve()), await asyncio.sleep(0)

    task, _ = own.run(start())
    own.stop()
    assert seen == ["cancelled"]
    assert task.cancelled()
    assert own.loop.is_closed()


def test_at_rest_it_runs_in_the_thread_of_its_caller(own):
    async def where():
        # Neither may this task be left behind, nor may its end be waited for.
        endless.append(asyncio.ensure_future(asyncio.Event().wait()))
        return threading.current_thread(), await asyncio.to_thread(threading.active_count)

    endless = []
    own.rest()
    own.rest()
    for _ in range(2):
        assert own.run(where())[0] is threading.current_thread()
    with pytest.raises(KeyError):
        own.run(raising(KeyError))
    assert [each.cancelled() for each in endless] == [True, True]
    own.stop()
    assert own.loop.is_closed()


async def raising(kind):
    raise kind


def test_where_no_thread_can_start_it_runs_in_that_of_its_caller(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    async def works():
        with pytest.raises(KeyError):
            await asyncio.get_running_loop().run_in_executor(None, {}.__getitem__, "a")
        return await asyncio.get_running_loop().run_in_executor(None, lambda: 7)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        patch.setattr(background_module.ThreadPoolExecutor, "submit", refuse)
        late = Background()
        assert late.run(works()) == 7
    late.stop()
    assert late.loop.is_closed()


def test_a_loop_that_is_at_rest_is_closed_when_it_is_dropped():
    own = Background()
    own.rest()
    loop = own.loop
    del own
    assert loop.is_closed()


def test_what_a_finalizer_closes_on_a_loop_that_has_ended_is_left(own):
    calls = []

    async def close():
        calls.append(threading.current_thread().name)

    closed = asyncio.new_event_loop()
    closed.close()
    close_soon(closed, close)
    close_soon(own.loop, close)
    own.run(asyncio.sleep(0))
    assert calls == ["trimtab"]


def test_a_child_forgets_what_must_not_be_inherited():
    process, calls = background_module._Process(), []
    process.background = background()
    process.forgetters.append(lambda: calls.append("forgotten"))
    lock = process.lock
    with lock:  # as if another thread held it at the fork
        process.after_fork_in_child()
    assert process.background is None
    assert process.lock is not lock
    assert calls == ["forgotten"]


def test_on_fork_takes_more_than_one():
    before = list(background_module._process.forgetters)
    calls = []
    on_fork(lambda: calls.append(1))
    try:
        assert len(background_module._process.forgetters) == len(before) + 1
    finally:
        background_module._process.forgetters[:] = before


FORKING = """
    import os, sys, threading
    from trimtab import Directory, DiscoverySettings, Instance
    from trimtab.background import background
    from trimtab.testing import FakeRegistry

    registry = FakeRegistry()
    registry.set("orders", [Instance(host="10.0.0.1", port=1)])

    def ask():
        with Directory(registry) as directory:
            return len(directory.instances("orders"))

    assert ask() == 1
    parent_thread = background()._thread
    held = Directory(registry, settings=DiscoverySettings(grace_s=0)).sync()  # in use
    held.instances("orders")
    watched = held.watch("orders")
    next(watched)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            alive = [each.name for each in threading.enumerate()]
            assert "trimtab" not in alive, alive
            assert ask() == 1
            registry.set("orders", [])
            assert held.instances("orders") == ()  # a list of its own, not the parent's
            assert len(next(watched).instances) == 0
            watched.close()
            assert background()._thread is not parent_thread
            code = 42
        finally:
            {exit}
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert ask() == 1
    assert len(held.instances("orders")) == 1
    registry.set("orders", [])
    assert next(watched).instances == ()
    held.close()
"""


@pytest.mark.parametrize("leaving", ["os._exit(code)", "sys.exit(code)"])
def test_a_forked_child_starts_its_own_and_the_parent_goes_on(leaving):
    program = textwrap.dedent(FORKING).replace("{exit}", leaving)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        env=os.environ | {"PYTHONASYNCIODEBUG": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_importing_starts_no_thread():
    program = "import threading, trimtab; assert threading.active_count() == 1"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
