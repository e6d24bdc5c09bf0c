"""The simulated loop: asyncio's own tools, in SimPy's time."""

import asyncio
import gc
import math
import signal
import sys
import threading
import warnings

import pytest
import simpy

from trimtab_sim.errors import DeadlockError, LivelockError, SimulationError
from trimtab_sim.loop import SimulatedLoop, run, schedule_at


def now():
    return asyncio.get_running_loop().time()


def test_an_hour_passes_at_once_and_starts_at_zero():
    async def main():
        assert now() == 0.0
        await asyncio.sleep(3600)
        return now()

    assert run(main()) == 3600.0


def test_times_are_absolute_and_exact():
    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.1)
        wanted = 0.1 + 0.2 + 1e-9
        reached = loop.create_future()
        loop.call_at(wanted, lambda: reached.set_result(now()))
        return await reached == wanted

    assert run(main())


def test_a_call_in_the_past_happens_now():
    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(5)
        done = loop.create_future()
        loop.call_at(1, done.set_result, None)
        await done
        return now()

    assert run(main()) == 5


def test_timers_of_one_instant_keep_their_order():
    async def main():
        loop, seen = asyncio.get_running_loop(), []
        for number in range(5):
            loop.call_at(1.0, seen.append, number)
        await asyncio.sleep(2)
        return seen

    assert run(main()) == [0, 1, 2, 3, 4]


def test_a_time_that_is_no_number_is_refused():
    async def main():
        with pytest.raises(ValueError, match="nan"):
            asyncio.get_running_loop().call_at(math.nan, print)

    run(main())


def test_an_endless_sleep_is_no_event():
    async def main():
        await asyncio.sleep(math.inf)

    with pytest.raises(DeadlockError, match="t = 0 s, and a task waits"):
        run(main())


def test_timeout_fires_at_its_time():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.Event().wait()
        return now()

    assert run(main()) == 2.5


def test_wait_for_gives_the_result_or_times_out():
    async def slow():
        await asyncio.sleep(1)
        return "done"

    async def main():
        assert await asyncio.wait_for(slow(), 2) == "done"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow(), 0.5)
        return now()

    assert run(main()) == 1.5


def test_queue_and_lock_and_gather():
    async def main():
        queue, lock, seen = asyncio.Queue(maxsize=1), asyncio.Lock(), []

        async def produce():
            for item in range(3):
                await asyncio.sleep(1)
                await queue.put(item)

        async def consume():
            for _ in range(3):
                async with lock:
                    item = await queue.get()
                    seen.append((now(), item))

        await asyncio.gather(produce(), consume())
        return seen

    assert run(main()) == [(1.0, 0), (2.0, 1), (3.0, 2)]


def test_shield_keeps_the_inner_task_alive():
    async def main():
        inner = asyncio.ensure_future(asyncio.sleep(2, "kept"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(inner), 1)
        assert now() == 1
        return await inner, now()

    assert run(main()) == ("kept", 2)


def test_a_task_group_aborts_in_the_order_of_creation():
    async def main():
        order = []

        async def member(number):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                order.append(number)
                raise

        async def fail():
            await asyncio.sleep(1)
            raise ValueError("the one that fails")

        async def abort():
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(member(number))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup):
            await abort()
        return order

    assert run(main()) == list(range(50))


def test_tasks_are_numbered_anew_in_each_loop():
    async def main():
        task = asyncio.ensure_future(asyncio.sleep(0))
        await task
        return task.get_name(), hash(task), asyncio.get_running_loop().create_task

    assert run(main())[:2] == run(main())[:2]
    assert run(main())[0] == "Task-2"


def test_a_name_given_to_a_task_stays():
    async def main():
        return asyncio.create_task(asyncio.sleep(0), name="mine").get_name()

    assert run(main()) == "mine"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_the_eager_task_factory_makes_stable_tasks():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        seen = []

        async def eager():
            seen.append("at once")
            await asyncio.sleep(1)
            return now()

        task = loop.create_task(eager())
        assert seen == ["at once"]
        assert hash(task) < 1000
        return await task

    assert run(main()) == 1


def test_a_task_factory_of_ones_own_is_used():
    async def main():
        loop = asyncio.get_running_loop()
        made = []

        def factory(loop, coro, **kwargs):
            made.append(coro)
            return asyncio.Task(coro, loop=loop, **kwargs)

        loop.set_task_factory(factory)
        await asyncio.create_task(asyncio.sleep(1))
        return len(made)

    assert run(main()) == 1


def test_exceptions_come_out():
    async def main():
        await asyncio.sleep(1)
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        run(main())


def test_a_deadlock_is_found_at_once_and_names_the_waiting_tasks():
    async def forgotten():
        await asyncio.Event().wait()

    async def main():
        waiting = [asyncio.ensure_future(forgotten()) for _ in range(30)]
        await asyncio.sleep(7)
        await asyncio.gather(*waiting)

    with pytest.raises(DeadlockError) as caught:
        run(main())
    message = str(caught.value)
    assert "t = 7 s, and 31 tasks wait" in message
    assert "forgotten" in message
    assert "test_sim_loop.py" in message
    assert "and 11 more" in message


def test_cancelled_timers_do_not_hide_a_deadlock():
    async def main():
        asyncio.get_running_loop().call_later(1000, print).cancel()
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match="t = 0 s"):
        run(main())


def test_standing_still_for_ever_is_an_error():
    async def main():
        await asyncio.sleep(1)
        while True:  # noqa: ASYNC110 - the mistake to be caught
            await asyncio.sleep(0)

    loop = SimulatedLoop(max_steps_per_instant=500)
    message = "more than 500 steps at t = 1 s"
    with asyncio.Runner(loop_factory=lambda: loop) as runner:  # noqa: SIM117 - it must close well
        with pytest.raises(LivelockError, match=message):
            runner.run(main())


def test_a_simpy_process_that_stands_still_is_an_error_too():
    def spin(env):
        while True:
            yield env.timeout(0)

    env = simpy.Environment()
    env.process(spin(env))
    loop = SimulatedLoop(env, max_steps_per_instant=500)
    with asyncio.Runner(loop_factory=lambda: loop) as runner, pytest.raises(LivelockError):
        runner.run(asyncio.sleep(1))


def test_many_steps_are_fine_while_the_clock_moves():
    async def main():
        for _ in range(300):
            await asyncio.sleep(0.001)

    loop = SimulatedLoop(max_steps_per_instant=20)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_until_cancels_and_returns_none():
    cancelled = []

    async def main():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(now())
            raise

    assert run(main(), until=10) is None
    assert cancelled == [10]


def test_until_leaves_a_shorter_run_and_its_own_timeout_errors_alone():
    async def short():
        return now()

    async def own():
        raise TimeoutError("mine")

    assert run(short(), until=10) == 0
    with pytest.raises(TimeoutError, match="mine"):
        run(own(), until=10)


def test_cancelled_timers_are_dropped_from_the_heap():
    async def main():
        loop = asyncio.get_running_loop()
        for number in range(10_000):
            loop.call_later(1000 + number, print).cancel()
        seen = []
        for number in range(5):
            loop.call_later(2000 + number, seen.append, number)
        await asyncio.sleep(1)
        await asyncio.sleep(1)
        size = len(loop.env._queue)
        await asyncio.sleep(3000)
        return size, seen

    size, seen = run(main())
    assert size < 10
    assert seen == [0, 1, 2, 3, 4]


def test_closing_takes_the_timers_off_a_shared_environment():
    env = simpy.Environment()

    async def main():
        asyncio.get_running_loop().call_later(1000, print)

    run(main(), env=env)
    assert env.peek() == math.inf


def test_two_runs_may_follow_each_other_in_one_environment():
    env = simpy.Environment()
    run(asyncio.sleep(5), env=env)

    async def main():
        return now()

    assert run(main(), env=env) == 5


def test_async_generators_are_closed_in_order():
    closed = []

    async def numbers(name):
        try:
            for number in range(10):
                yield number
        finally:
            await asyncio.sleep(1)
            closed.append((name, now()))

    async def main():
        generators = [numbers(name) for name in range(20)]
        for generator in generators:
            await anext(generator)
        main.kept = generators  # still alive when the loop shuts down
        await generators[3].aclose()

    run(main())
    main.kept.clear()
    assert [name for name, _ in closed] == [3, *range(3), *range(4, 20)]
    assert closed[-1][1] == 2.0


def test_a_dropped_async_generator_is_closed_by_the_loop():
    async def main():
        closed = asyncio.Event()

        async def numbers():
            try:
                yield 1
            finally:
                closed.set()

        generator = numbers()
        await anext(generator)
        del generator
        gc.collect()
        await closed.wait()
        return now()

    assert run(main()) == 0


def test_call_soon_threadsafe_is_call_soon_within_the_thread():
    async def main():
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon_threadsafe(done.set_result, "here")
        return await done

    assert run(main()) == "here"


def test_call_soon_threadsafe_is_refused_from_another_thread():
    start, finished, errors = threading.Event(), threading.Event(), []
    loops = []

    def intrude():
        start.wait(10)
        try:
            loops[0].call_soon_threadsafe(print)
        except SimulationError as error:
            errors.append(error)
        finished.set()

    thread = threading.Thread(target=intrude)
    thread.start()

    async def main():
        loops.append(asyncio.get_running_loop())
        start.set()
        finished.wait(10)

    run(main())
    thread.join(10)
    assert "no virtual time" in str(errors[0])


def test_call_soon_threadsafe_before_the_start():
    loop = SimulatedLoop()
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    loop.close()


def test_stopping_with_nothing_to_do_is_no_deadlock():
    loop = SimulatedLoop()
    loop.stop()
    loop.run_forever()
    loop.close()
    loop.close()
    assert loop.is_closed()


def test_an_interrupt_cancels_the_main_task():
    async def main():
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        run(main())


def test_the_loop_closes_without_a_warning():
    async def main():
        asyncio.ensure_future(asyncio.sleep(100))  # noqa: RUF006 - left behind on purpose
        await asyncio.sleep(1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main())
        gc.collect()


def test_debug_mode_works():
    loop = SimulatedLoop()
    loop.set_debug(True)

    async def main():
        await asyncio.sleep(1)
        return now()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(main()) == 1


def test_schedule_at_is_exact():
    env = simpy.Environment(0.1)
    event = env.event()
    event._ok, event._value = True, None
    schedule_at(env, event, 0.7)
    env.run()
    assert env.now == 0.7
