"""Unmodified libraries on the simulated loop: anyio, sniffio, httpx, httpcore."""

import asyncio
import hashlib
import subprocess
import sys

import anyio
import httpcore
import httpx
import pytest
import sniffio

from trimtab_sim.loop import run


def now():
    return asyncio.get_running_loop().time()


def test_sniffio_sees_asyncio():
    async def main():
        return sniffio.current_async_library()

    assert run(main()) == "asyncio"


def test_anyio_sleeps_times_out_and_passes_messages():
    async def main():
        seen = []
        send, receive = anyio.create_memory_object_stream(1)

        async def consume():
            async with receive:
                async for item in receive:
                    seen.append((now(), item))  # noqa: PERF401 - the moment counts

        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            async with send:
                for item in range(3):
                    await anyio.sleep(1)
                    await send.send(item)
        with anyio.move_on_after(5) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(2):
                await anyio.Event().wait()
        return seen, now(), anyio.current_time()

    assert run(main()) == ([(1, 0), (2, 1), (3, 2)], 10, 10)


def test_httpx_with_a_mock_transport():
    async def answer(request):
        await asyncio.sleep(0.25)
        return httpx.Response(200, json={"path": request.url.path, "at": now()})

    async def main():
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://orders") as client:
            answers = await asyncio.gather(*(client.get(f"/{number}") for number in range(3)))
            answers.append(await client.get("/last"))
        return [response.json()["at"] for response in answers]

    assert run(main()) == [0.25, 0.25, 0.25, 0.5]


class SlowBackend(httpcore.AsyncMockBackend):
    async def connect_tcp(self, *args, **kwargs):
        await asyncio.sleep(100)
        return await super().connect_tcp(*args, **kwargs)


def test_httpcore_waits_for_a_place_in_its_pool_in_virtual_time():
    async def main():
        backend = SlowBackend([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"])
        async with httpcore.AsyncConnectionPool(max_connections=1, network_backend=backend) as pool:
            first = asyncio.ensure_future(pool.request("GET", "http://orders/"))
            await asyncio.sleep(1)
            with pytest.raises(httpcore.PoolTimeout):
                await pool.request("GET", "http://orders/", extensions={"timeout": {"pool": 5.0}})
            at = now()
            return at, (await first).content, now()

    assert run(main()) == (6, b"ok", 100)


PROGRAM = """
import asyncio, random
from trimtab_sim.loop import run

async def one(number, rng, seen):
    try:
        await asyncio.sleep(rng.uniform(0, 10))
        await asyncio.sleep(100)
    finally:
        seen.append(number)

async def main():
    rng, seen = random.Random(7), []
    tasks = {asyncio.create_task(one(number, rng, seen)) for number in range(300)}
    print([task.get_name() for task in tasks])
    done, pending = await asyncio.wait(tasks, timeout=50)
    print([task.get_name() for task in pending])
    futures = {asyncio.get_running_loop().create_future() for _ in range(50)}
    print([hash(future) for future in futures])
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(one(number, rng, seen))
            await asyncio.sleep(5)
            raise ValueError
    except* ValueError:
        pass
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait(tasks)
    print(seen)

run(main())
"""


def digest(hash_seed):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert not done.stderr
    return hashlib.sha256(done.stdout).hexdigest()


def test_300_tasks_have_one_order_whatever_the_hash_seed():
    assert digest(1) == digest(2) == digest(0)
