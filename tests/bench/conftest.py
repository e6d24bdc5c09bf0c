"""Benchmarks: figures as ratios within one run; an absolute time means nothing on its own.

A benchmark with `extra_info["baseline"]` is what the others of its group are divided by.
"""

import subprocess
import sys

import pytest

_BACKENDS = """
import asyncio, sys

RESPONSE = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"


class Backend(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(RESPONSE * data.count(b"\\r\\n\\r\\n"))


async def main(count):
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Backend, "127.0.0.1", 0) for _ in range(count)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main(int(sys.argv[1])))
"""


@pytest.fixture(scope="session")
def backends():
    """Ports of five backends in one process of their own."""
    with subprocess.Popen(
        [sys.executable, "-c", _BACKENDS, "5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield [int(port) for port in process.stdout.readline().split()]
        process.stdin.close()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, list] = {}
    for bench in getattr(session, "benchmarks", ()):
        groups.setdefault(bench.group, []).append(bench)
    for name, members in sorted(groups.items()):
        baseline = next((one for one in members if one.extra_info.get("baseline")), None)
        if baseline is None:
            continue
        terminalreporter.section(f"{name}: times the cost of {baseline.name}")
        for one in members:
            work = one.extra_info.get("units", 1) / baseline.extra_info.get("units", 1)
            ratio = one.stats.median / baseline.stats.median / work
            terminalreporter.write_line(f"{ratio:8.3f}  {one.name}")
