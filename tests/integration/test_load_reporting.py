"""Reported load on real servers: uvicorn and gunicorn, httpx and httpx2, sync and async."""

import asyncio
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import httpx
import httpx2
import pytest
import uvicorn

from trimtab import AsgiLoadReporter, BalancedTransport, LoadMeter
from trimtab.strategies import ASK_HEADER, LOAD_PATH, REPORT_HEADER, read_load_report

FAMILIES = [httpx, httpx2]
ASKING = "least_load(ask_after_s=0.001, ask_timeout_s=5)"
IMPATIENT = "least_load(ask_after_s=0.001, ask_timeout_s=1)"
DEADLINE_S = 20.0
PROGRAM = Path(__file__).with_name("load_program.py")


def until(holds):
    """Wait for a condition."""
    pause, waited = threading.Event(), 0.0
    while not holds():
        pause.wait(0.01)
        waited += 0.01
        assert waited < DEADLINE_S


class Server:
    """A real uvicorn with the middleware; `/hold` is not answered before the end.

    Attributes:
        reporter: the middleware.
        calls: the headers of the requests to `/`, in order.
        is_mute: nothing is answered, questions for the load included.
    """

    def __init__(self):
        self.calls = []
        self.is_mute = False
        self.reporter = AsgiLoadReporter(self._app, meter=LoadMeter(every_s=0))
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            self._outermost,
            interface="asgi3",
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        async def serve():
            self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
            await self._server.serve(sockets=[self._socket])

        asyncio.run(serve())

    async def _outermost(self, scope, receive, send):
        if self.is_mute:
            await self._end.wait()
        await self.reporter(scope, receive, send)

    async def _app(self, scope, receive, send):
        if scope["path"] == "/hold":
            await self._end.wait()
        else:
            self.calls.append(dict(scope["headers"]))
        head = {"type": "http.response.start", "status": 200}
        await send(head | {"headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def __enter__(self):
        self._thread.start()
        until(lambda: self._server.started)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._server.should_exit = True
        self._thread.join(DEADLINE_S)
        self._socket.close()


@pytest.fixture
def pair():
    with Server() as one, Server() as other:
        yield one, other


@contextmanager
def held(server, times):
    """Another client's requests, in flight on a server."""
    with ThreadPoolExecutor(times) as threads, ExitStack() as ends:
        ends.callback(server._loop.call_soon_threadsafe, server._end.set)
        for _ in range(times):
            threads.submit(httpx.get, f"http://{server.address}/hold", timeout=DEADLINE_S)
        until(lambda: server.reporter.meter.in_flight == times)
        yield


def registry_of(servers):
    return "static://" + ",".join(server.address for server in servers)


def call_sync(family, servers, strategy, times, **options):
    transport = BalancedTransport(registry_of(servers), strategy=strategy)
    with family.Client(transport=transport, timeout=DEADLINE_S) as client:
        return [client.get("http://orders/", **options) for _ in range(times)]


def call_async(family, servers, strategy, times, *, backend="asyncio", **options):
    async def main():
        transport = BalancedTransport(registry_of(servers), strategy=strategy)
        async with family.AsyncClient(transport=transport, timeout=DEADLINE_S) as client:
            return [await client.get("http://orders/", **options) for _ in range(times)]

    return anyio.run(main, backend=backend)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("call", [call_sync, call_async])
def test_a_server_that_others_keep_busy_gets_nothing(pair, family, call):
    busy, idle = pair
    with held(busy, 3):
        answers = call(family, pair, ASKING, 10)
    assert [answer.status_code for answer in answers] == [200] * 10
    assert (len(busy.calls), len(idle.calls)) == (0, 10)
    # What was asked is no request: the middleware counts only those of clients.
    assert idle.reporter.meter.begun == 10


def test_under_trio_as_well(pair):
    busy, idle = pair
    with held(busy, 2):
        call_async(httpx, pair, ASKING, 5, backend="trio")
    assert (len(busy.calls), len(idle.calls)) == (0, 5)


def test_responses_alone_tell_after_the_first(pair):
    busy, idle = pair
    with held(busy, 3):
        call_sync(httpx, pair, "least_load(memory_s=1000)", 12)
    assert len(busy.calls) <= 1
    assert len(idle.calls) >= 11


@pytest.mark.parametrize("call", [call_sync, call_async])
def test_a_server_that_does_not_answer_the_question_gets_nothing(pair, call):
    mute, well = pair
    mute.is_mute = True
    answers = call(httpx, pair, IMPATIENT, 10)
    assert [answer.status_code for answer in answers] == [200] * 10
    assert len(well.calls) == 10


def test_one_without_the_middleware_is_not_avoided():
    with Server() as with_it, Server() as without:
        without.reporter = without._app
        call_sync(httpx, [with_it, without], ASKING, 30)
        # Its answer to the question was the application's.
        assert len(without.calls) > 0
        assert len(with_it.calls) > 0


@pytest.mark.parametrize(
    ("strategy", "asks"),
    [
        ("least_load", True),
        ("client_side_weighted_round_robin", True),
        ("zone_aware(z, inside=least_load)", True),
        ("least_latency", False),
        ("zone_aware(z)", False),
    ],
)
def test_only_strategies_that_use_reports_ask_for_them(pair, strategy, asks):
    answers = call_sync(httpx2, pair, strategy, 4)
    assert [REPORT_HEADER in answer.headers for answer in answers] == [asks] * 4
    asked = [headers.get(ASK_HEADER.encode()) for server in pair for headers in server.calls]
    assert asked == [b"TEXT" if asks else None] * 4
    assert all(ASK_HEADER not in answer.request.headers for answer in answers)


def test_the_callers_own_header_wins(pair):
    (answer,) = call_sync(httpx, pair, "least_load", 1, headers={ASK_HEADER: "JSON"})
    assert answer.headers[REPORT_HEADER].startswith("JSON ")
    assert read_load_report(answer.headers).in_flight == 0


# -- gunicorn ------------------------------------------------------------------------------------


@pytest.fixture
def gunicorn():
    """Starts gunicorn with these arguments; returns its URL."""
    with ExitStack() as stack:

        def start(*arguments):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}"),
                    *("--chdir", str(PROGRAM.parent), "--log-level", "error"),
                    *(*arguments, f"{PROGRAM.stem}:app"),
                ],
                pass_fds=[listener.fileno()],
            )
            stack.callback(process.wait, DEADLINE_S)
            stack.callback(process.terminate)
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield start


@pytest.mark.parametrize("arguments", [["--threads", "8"], ["--workers", "2"]])
def test_gunicorn_reports_its_load(gunicorn, arguments):
    url = gunicorn(*arguments)
    limits = httpx.Limits(max_connections=8)
    with httpx.Client(timeout=DEADLINE_S, limits=limits) as client:
        question = client.get(url + LOAD_PATH)
        assert (question.status_code, question.content) == (204, b"")
        assert read_load_report(question.headers).in_flight == 0
        headers = {ASK_HEADER: "TEXT"}
        reports = []

        def ask():
            report = read_load_report(client.get(url, headers=headers).headers)
            if report is not None:
                reports.append(report)

        def is_told():
            with ThreadPoolExecutor(8) as threads:
                for _ in range(16):
                    threads.submit(ask)
            return any(report.qps > 0 for report in reports)

        until(is_told)
        assert client.get(url).headers.get(REPORT_HEADER) is None
    most = max(report.in_flight for report in reports)
    assert most >= 3 if "--threads" in arguments else most == 0
    rated = [report for report in reports if report.qps > 0]
    assert all(0 <= report.utilization < 4 and report.eps == 0 for report in rated)
