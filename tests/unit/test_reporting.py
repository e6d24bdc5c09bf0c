"""The middleware that reports load: what it counts, and what it adds to responses."""

import asyncio
from threading import Barrier, Thread

import pytest

from trimtab import AsgiLoadReporter, WsgiLoadReporter
from trimtab.reporting import LoadMeter
from trimtab.strategies import ASK_HEADER, LOAD_PATH, REPORT_HEADER, read_load_report
from trimtab.testing import ManualClock

ASKS = [(b"host", b"x"), (ASK_HEADER.encode(), b"TEXT")]
IDLE = "TEXT named_metrics.requests_in_flight=0"


def report_of(text):
    return read_load_report({REPORT_HEADER: text})


# -- the meter -----------------------------------------------------------------------------------


class Time:
    """A clock, and a CPU that is moved by hand."""

    def __init__(self):
        self.now = self.cpu = 0.0
        self.meter = LoadMeter(clock=lambda: self.now, cpu_clock=lambda: self.cpu)


def test_rates_are_of_the_last_second_or_more():
    time = Time()
    meter = time.meter
    meter.begun, meter.errors, meter.in_flight, time.cpu = 43, 10, 3, 0.5
    assert meter.report() == "TEXT named_metrics.requests_in_flight=3"
    time.now = 2.0
    for form in ("TEXT", "JSON"):
        report = report_of(meter.report(form, besides=1))
        assert (report.in_flight, report.qps, report.eps, report.utilization) == (2, 20, 5, 0.25)
    # Within a second they stay; what is in flight is always of this moment.
    time.now, meter.begun, meter.in_flight = 2.5, 107, 7
    assert report_of(meter.report()).qps == 20
    assert report_of(meter.report()).in_flight == 7
    time.now = 3.0
    assert report_of(meter.report()).qps == 60


def test_a_queue_that_grows_is_no_higher_rate():
    time = Time()
    time.now, time.meter.begun, time.meter.in_flight = 1.0, 150, 50
    assert report_of(time.meter.report()).qps == 100


def test_a_mean_over_minutes_is_not_reported():
    time = Time()
    time.now, time.meter.begun = 61.0, 6100
    assert time.meter.report() == IDLE
    time.now, time.meter.begun = 62.0, 6200
    assert report_of(time.meter.report()).qps == 100


def test_not_every_response_at_a_high_rate_takes_a_report_along():
    time = Time()
    app = AsgiLoadReporter(AsgiApp(), meter=time.meter)
    with_report = []
    for number in range(10):
        time.now = number * 0.002
        if REPORT_HEADER.encode() in headers_of(call(app, headers=ASKS)):
            with_report.append(number)
    assert with_report == [0, 5]
    assert REPORT_HEADER.encode() in headers_of(call(app, LOAD_PATH))


# -- ASGI ----------------------------------------------------------------------------------------


class AsgiApp:
    """Answers with a status; raises before or after the head if told to."""

    def __init__(self, status=200, *, fails=None, inside=None):
        self.status, self.fails, self.inside = status, fails, inside

    async def __call__(self, scope, receive, send):
        if self.inside is not None:
            await self.inside()
        if self.fails == "before":
            raise ValueError
        await send({"type": "http.response.start", "status": self.status})
        if self.fails == "after":
            raise ValueError
        await send({"type": "http.response.body", "body": b"ok"})


def call(app, path="/", headers=(), kind="http"):
    """The messages that an application sends, its error included."""
    sent = []

    async def send(message):
        sent.append(message)

    async def main():
        try:
            await app({"type": kind, "path": path, "headers": headers}, None, send)
        except ValueError as error:
            sent.append(error)

    asyncio.run(main())
    return sent


def headers_of(messages):
    return dict(messages[0].get("headers", ()))


def test_a_report_comes_if_it_is_asked_for_or_always():
    app = AsgiLoadReporter(AsgiApp(), meter=LoadMeter(every_s=0))
    assert REPORT_HEADER.encode() not in headers_of(call(app))
    assert headers_of(call(app, headers=ASKS))[REPORT_HEADER.encode()] == IDLE.encode()
    json = headers_of(call(app, headers=[(ASK_HEADER.encode(), b"JSON")]))
    assert report_of(json[REPORT_HEADER.encode()].decode()).in_flight == 0
    always = AsgiLoadReporter(AsgiApp(), always=True)
    assert headers_of(call(always))[REPORT_HEADER.encode()] == IDLE.encode()


def test_the_endpoint_says_the_load_and_nothing_else():
    app = AsgiLoadReporter(AsgiApp(), meter=LoadMeter(every_s=0))
    start, body = call(app, LOAD_PATH)
    assert (start["status"], body["body"]) == (204, b"")
    assert headers_of([start])[REPORT_HEADER.encode()] == IDLE.encode()
    assert app.meter.begun == 0
    without = AsgiLoadReporter(AsgiApp(), has_endpoint=False)
    assert call(without, LOAD_PATH)[0]["status"] == 200


@pytest.mark.parametrize(
    ("app", "errors"),
    [
        (AsgiApp(), 0),
        (AsgiApp(404), 0),
        (AsgiApp(503), 1),
        (AsgiApp(fails="before"), 1),
        (AsgiApp(500, fails="after"), 1),
        (AsgiApp(fails="after"), 0),
    ],
)
def test_what_counts_as_an_error(app, errors):
    reporter = AsgiLoadReporter(app)
    call(reporter)
    meter = reporter.meter
    assert (meter.begun, meter.errors, meter.in_flight) == (1, errors, 0)


def test_requests_side_by_side_are_in_flight():
    meter, seen = LoadMeter(every_s=0), []

    async def main():
        async def inside():
            await asyncio.sleep(0)
            seen.append(meter.in_flight)

        app = AsgiLoadReporter(AsgiApp(inside=inside), always=True, meter=meter)
        scope = {"type": "http", "path": "/", "headers": []}
        reports = []

        async def send(message):
            reports.extend(value for _, value in message.get("headers", ()))

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(app(scope, None, send))
        return reports

    reports = asyncio.run(main())
    assert seen[0] == 3
    assert [report_of(each.decode()).in_flight for each in reports] == [2, 1, 0]
    assert meter.in_flight == 0


def test_a_cancelled_request_is_not_in_flight_any_more():
    async def main():
        async def forever():
            await asyncio.Event().wait()

        app = AsgiLoadReporter(AsgiApp(inside=forever))
        task = asyncio.ensure_future(app({"type": "http", "path": "/", "headers": []}, None, None))
        await asyncio.sleep(0)
        assert app.meter.in_flight == 1
        task.cancel()
        await asyncio.wait([task])
        return app.meter

    meter = asyncio.run(main())
    assert (meter.in_flight, meter.errors) == (0, 0)


def test_other_protocols_pass():
    app = AsgiLoadReporter(AsgiApp(), always=True)
    assert call(app, kind="lifespan")[0] == {"type": "http.response.start", "status": 200}
    assert app.meter.begun == 0


# -- WSGI ----------------------------------------------------------------------------------------


def wsgi(status="200 OK", body=(b"ok",), *, fails=False):
    def app(environ, start_response):
        if fails:
            raise ValueError
        start_response(status, [("X", "1")])
        return body() if callable(body) else list(body)

    return app


def wsgi_call(app, path="/", **environ):
    """Status, headers and body of a response, read and closed as a server does."""
    heads = []
    body = app({"PATH_INFO": path, **environ}, lambda *head: heads.append(head))
    parts = list(body)
    if hasattr(body, "close"):
        body.close()
    return heads[0][0], dict(heads[0][1]), b"".join(parts)


ASKS_WSGI = {"HTTP_ENDPOINT_LOAD_METRICS_FORMAT": "TEXT"}


def test_wsgi_reports_if_it_is_asked_for_or_always():
    app = WsgiLoadReporter(wsgi(), meter=LoadMeter(every_s=0))
    assert wsgi_call(app) == ("200 OK", {"X": "1"}, b"ok")
    assert wsgi_call(app, **ASKS_WSGI) == ("200 OK", {"X": "1", REPORT_HEADER: IDLE}, b"ok")
    assert wsgi_call(WsgiLoadReporter(wsgi(), always=True))[1][REPORT_HEADER] == IDLE
    assert wsgi_call(app, LOAD_PATH) == ("204 No Content", {REPORT_HEADER: IDLE}, b"")
    assert wsgi_call(WsgiLoadReporter(wsgi(), has_endpoint=False), LOAD_PATH)[0] == "200 OK"


@pytest.mark.parametrize(
    ("app", "errors"), [(wsgi(), 0), (wsgi("503 Busy"), 1), (wsgi(fails=True), 1)]
)
def test_wsgi_counts_errors(app, errors):
    reporter = WsgiLoadReporter(app)
    try:
        wsgi_call(reporter)
    except ValueError:
        assert errors
    meter = reporter.meter
    assert (meter.begun, meter.errors, meter.in_flight) == (1, errors, 0)


class Streamed:
    """A body that is made step by step."""

    def __init__(self):
        self.closed = 0

    def __iter__(self):
        yield b"o"
        yield b"k"

    def close(self):
        self.closed += 1


def test_a_streamed_body_is_in_flight_until_it_is_closed():
    streamed = Streamed()
    reporter = WsgiLoadReporter(wsgi(body=lambda: streamed))
    body = reporter({"PATH_INFO": "/"}, lambda *_: None)
    assert reporter.meter.in_flight == 1
    assert list(body) == [b"o", b"k"]
    body.close()
    body.close()
    assert (reporter.meter.in_flight, reporter.meter.errors, streamed.closed) == (0, 0, 2)


def test_a_generator_may_start_its_response_when_it_is_read():
    def app(environ, start_response):
        start_response("500 Broken", [])
        yield b"no"

    reporter = WsgiLoadReporter(app, meter=LoadMeter(every_s=0))
    assert wsgi_call(reporter, **ASKS_WSGI)[0] == "500 Broken"
    assert (reporter.meter.in_flight, reporter.meter.errors) == (0, 1)
    body = reporter({"PATH_INFO": "/"}, lambda *_: None)
    iter(body)
    body.close()  # the client has left before
    assert reporter.meter.in_flight == 0


def test_a_body_without_a_close_is_closed_all_the_same():
    reporter = WsgiLoadReporter(wsgi(body=lambda: map(bytes, [b"o", b"k"])))
    assert wsgi_call(reporter)[2] == b"ok"
    assert reporter.meter.in_flight == 0


def test_threads_lose_no_request():
    together = Barrier(8)
    reporter = WsgiLoadReporter(wsgi(body=Streamed))

    def work():
        together.wait()
        for _ in range(500):
            wsgi_call(reporter, **ASKS_WSGI)

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (reporter.meter.begun, reporter.meter.in_flight) == (4000, 0)


def test_two_threads_that_ask_at_once_work_out_the_rates_once():
    time = Time()
    meter = time.meter
    time.now, meter.begun = 2.0, 20
    assert report_of(meter.report()).qps == 10
    meter._renew(2.5)
    assert report_of(meter.report()).qps == 10


def test_the_clock_is_the_callers():
    clock = ManualClock()
    assert LoadMeter(clock=clock).report() == IDLE
