"""Tasks and SimPy processes on one clock."""

import asyncio

import pytest
import simpy

from trimtab_sim.errors import SimulationError
from trimtab_sim.loop import run


@pytest.fixture
def env():
    return simpy.Environment()


def loop():
    return asyncio.get_running_loop()


def test_a_coroutine_waits_for_a_simpy_timeout(env):
    async def main():
        value = await loop().wait_event(env.timeout(4, "rung"))
        return value, loop().time()

    assert run(main(), env=env) == ("rung", 4)


def test_a_coroutine_waits_for_a_process(env):
    def work():
        yield env.timeout(3)
        return "worked"

    async def main():
        process = env.process(work())
        first = await loop().wait_event(process)
        return first, await loop().wait_event(process), await loop().as_future(process)

    assert run(main(), env=env) == ("worked", "worked", "worked")


def test_a_process_waits_for_a_coroutine(env):
    async def work():
        await asyncio.sleep(2)
        return "worked"

    def process():
        value = yield loop().as_event(work())
        return value, env.now

    async def main():
        return await loop().wait_event(env.process(process()))

    assert run(main(), env=env) == ("worked", 2)


def test_a_coroutines_failure_is_raised_in_the_process(env):
    async def work():
        await asyncio.sleep(1)
        raise ValueError("spoilt")

    def process():
        with pytest.raises(ValueError, match="spoilt"):
            yield loop().as_event(work())
        return "seen"

    async def main():
        return await loop().wait_event(env.process(process()))

    assert run(main(), env=env) == "seen"


def test_a_cancelled_task_is_a_failure_in_the_process(env):
    def process(task):
        with pytest.raises(SimulationError, match="cancelled"):
            yield loop().as_event(task)
        return env.now

    async def main():
        task = asyncio.ensure_future(asyncio.sleep(10))
        loop().call_later(3, task.cancel)
        return await loop().wait_event(env.process(process(task)))

    assert run(main(), env=env) == 3


def test_an_event_that_was_already_triggered_stays_unchanged(env):
    async def fail():
        await asyncio.sleep(1)
        raise ValueError("too late")

    async def main():
        event = loop().as_event(fail())
        event.succeed("first")
        assert await loop().wait_event(event) == "first"
        await asyncio.sleep(2)

    run(main(), env=env)


def test_a_failed_event_is_raised_where_it_is_awaited(env):
    async def main():
        for wait in (loop().wait_event, loop().as_future):
            event = env.event()
            event.fail(LookupError("gone"))
            with pytest.raises(LookupError, match="gone"):
                await wait(event)
        with pytest.raises(LookupError):
            await loop().wait_event(event)  # and again after it was processed

    run(main(), env=env)


def test_a_failed_process_without_a_waiting_task_ends_the_run(env):
    def fail():
        yield env.timeout(1)
        raise LookupError("unnoticed")

    env.process(fail())
    with pytest.raises(LookupError, match="unnoticed"):
        run(asyncio.sleep(10), env=env)


def test_a_cancelled_wait_leaves_the_event(env):
    async def main():
        event = env.event()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop().wait_event(event), 1)
        assert event.callbacks == []
        kept = loop().as_future(event)
        kept.cancel()
        event.succeed()
        await asyncio.sleep(1)

    run(main(), env=env)


def test_tasks_and_processes_queue_for_one_resource(env):
    seen = []

    def process(resource, name):
        with resource.request() as request:
            yield request
            seen.append((name, env.now))
            yield env.timeout(1)

    async def task(resource, name):
        with resource.request() as request:
            await loop().wait_event(request)
            seen.append((name, env.now))
            await asyncio.sleep(1)

    async def main():
        resource = simpy.Resource(env, capacity=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(task(resource, "task 1"))
            group.create_task(task(resource, "task 2"))
            await asyncio.sleep(0.5)
            env.process(process(resource, "process"))
            await asyncio.sleep(0.1)
            group.create_task(task(resource, "task 3"))
        return resource.count

    assert run(main(), env=env) == 0
    assert seen == [("task 1", 0), ("task 2", 1), ("process", 2), ("task 3", 3)]


def test_a_process_runs_concurrently_with_a_task(env):
    seen = []

    def tick():
        while True:
            seen.append(("process", env.now))
            yield env.timeout(1)

    async def main():
        env.process(tick())
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(("task", env.now))

    run(main(), env=env)
    assert seen[:3] == [("process", 0), ("task", 1), ("process", 1)]
    assert seen.count(("process", 2)) == seen.count(("task", 2)) == 1
