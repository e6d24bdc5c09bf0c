"""Where requests, lists, room and closing meet: one kind of defect per test, in every flavour."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import ssl
import threading
import time
from types import SimpleNamespace

import httpx
import httpx2
import pytest
import trustme

from transport_kit import (
    ASYNC_FLAVOURS,
    DEADLINE_S,
    FLAVOURS,
    HttpServer,
    RawServer,
    every,
    figures,
    listing,
    unique,
    unreachable_instance,
)
from trimtab import (
    BalancedTransport,
    ClosedError,
    ConcurrencyLimits,
    DiscoveryError,
    DiscoverySettings,
    DiscoveryTimeoutError,
    Instance,
    RetryPolicy,
)
from trimtab.testing import FakeRegistry

WHO = "http://orders/who"
ROOM = ConcurrencyLimits(max_in_flight=1, max_pending=9, max_wait_s=DEADLINE_S)


@pytest.fixture(scope="module")
def kit():
    """Two good servers, shared by all tests of the module."""
    with HttpServer("a") as a, HttpServer("b") as b:
        yield SimpleNamespace(a=a, b=b)


@contextlib.contextmanager
def lateness():
    """Measure how late this machine wakes a thread at worst, while it does something else."""
    worst, stop = [0.0], threading.Event()

    def tick():
        while not stop.is_set():
            before = time.monotonic()
            stop.wait(0.01)
            worst[0] = max(worst[0], time.monotonic() - before - 0.01)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield lambda: worst[0]
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def silent_port():
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def refusing_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def outcome(function, *args, **options):
    """Return the error that a call raises, and how long it took."""
    started = time.monotonic()
    try:
        result = await function(*args, **options)
    except Exception as error:  # noqa: BLE001 - the caller looks at it
        return error, time.monotonic() - started
    return result, time.monotonic() - started


# -- the first list and the deadline ---------------------------------------------------------------


@pytest.mark.parametrize("registry", [refusing_port, silent_port])
@pytest.mark.parametrize("settings", [{"deadline_s": 0.5}, {"startup_timeout_s": 0.5}], ids=str)
@pytest.mark.parametrize("flavour", FLAVOURS, ids=repr)
def test_the_first_list_is_waited_for_until_the_deadline_or_the_startup_timeout(
    flavour, settings, registry
):
    async def scenario(flavour):
        with registry() as port, lateness() as worst_s:
            startup_timeout_s = settings.get("startup_timeout_s", 60.0)
            transport = flavour.transport(
                f"consul://127.0.0.1:{port}",
                discovery=DiscoverySettings(startup_timeout_s=startup_timeout_s),
                deadline_s=settings.get("deadline_s"),
            )
            async with flavour.client(transport, timeout=DEADLINE_S) as client:
                for _ in range(2):
                    error, took_s = await outcome(client.get, WHO)
                    assert isinstance(error, DiscoveryTimeoutError), repr(error)
                    assert isinstance(error, flavour.family.ConnectError)
                    for fact in ("'orders'", "within 0.5 s", f"127.0.0.1:{port}"):
                        assert fact in str(error)
                    assert 0.49 <= took_s < 0.75 + 10 * worst_s()

    flavour.run(scenario)


@every(FLAVOURS)
async def test_a_registry_that_refuses_is_told_before_the_deadline(flavour, kit):
    with HttpServer("registry") as registry:
        # The server knows no such path; 404 is no list either. Consul's own answer is 403.
        transport = flavour.transport(f"consul://127.0.0.1:{registry.port}", deadline_s=0.5)
        async with flavour.client(transport, timeout=DEADLINE_S) as client:
            with lateness() as worst_s:
                error, took_s = await outcome(client.get, WHO)
            assert isinstance(error, DiscoveryError), repr(error)
            assert took_s < 0.75 + 10 * worst_s()


# -- waiting for room ------------------------------------------------------------------------------


def waiting(transport):
    """How many requests wait for room, or will get their answer soon."""
    return sum(
        service.calls.queue.count for side in transport._sides() for service in side.services.all()
    )


async def held(flavour, client, key):
    request = client.build_request("GET", f"http://orders/held/{key}")
    return await client.send(request, stream=True)


@pytest.mark.parametrize("how", ["list", "dropped", "dropped in a thread", "figures in a thread"])
@pytest.mark.parametrize("flavour", FLAVOURS, ids=repr)
def test_room_wakes_those_who_wait_from_wherever_it_comes(flavour, how, kit):
    """No waiter is lost, or refused although room came, and none is woken on a foreign thread."""

    async def scenario(flavour):
        registry, keys = listing(kit.a.instance()), [unique()]
        transport = flavour.transport(registry, concurrency=ROOM)
        answers, kept = [], []

        async def wait():
            answers.append((await client.get(WHO)).text)

        async def make_room():
            await flavour.until(lambda: waiting(transport) == 3)
            if how == "list":
                registry.set("orders", [kit.a.instance(), kit.b.instance()])
            elif how == "dropped":
                kept.clear()
                gc.collect()
            elif how == "dropped in a thread":
                _in_thread(lambda: (kept.clear(), gc.collect()))
            else:
                (service,) = (s for side in transport._sides() for s in side.services.all())
                # As a finalizer in another thread does, while nothing wakes the home of the lists.
                service._dropped.append(kept[0].stream._stream.watcher._pick)
                _in_thread(transport.statistics)

        async with flavour.client(transport, timeout=DEADLINE_S) as client:
            kept.append(await held(flavour, client, keys[0]))
            await flavour.together(wait, wait, wait, make_room)
            assert len(answers) == 3
            assert set(answers) == ({"b"} if how == "list" else {"a"})
            for response in kept:
                kit.a.open(keys[0])
                await flavour.close(response)
            kept.clear()
            gc.collect()
            assert figures(transport).in_flight == 0

    flavour.run(scenario)


def _in_thread(function):
    errors = []

    def work():
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


# -- connect time-outs -----------------------------------------------------------------------------


@every(FLAVOURS)
async def test_connect_time_outs_are_tried_again_within_the_budget(flavour, kit):
    attempts = []

    def fail(request):
        attempts.append(request.url.host)
        raise flavour.family.ConnectTimeout("no connection", request=request)

    instances = [Instance(host=f"h{number}", port=1) for number in range(5)]
    retry = RetryPolicy(budget_ratio=0.1, budget_min_per_s=0.0)
    transport = flavour.transport(
        listing(*instances), retry=retry, inner=lambda _: flavour.family.MockTransport(fail)
    )
    async with flavour.client(transport) as client:
        for _ in range(100):
            error, _ = await outcome(client.get, WHO)
            assert isinstance(error, flavour.family.ConnectTimeout)
    assert 100 < len(attempts) <= 110


@every(FLAVOURS)
async def test_an_overloaded_server_gets_no_more_connections_than_the_budget_allows(flavour, kit):
    with unreachable_instance() as one, unreachable_instance(id="two") as two:
        retry = RetryPolicy(budget_ratio=0.0, budget_min_per_s=0.2)  # two in ten seconds
        transport = flavour.transport(listing(one, two), retry=retry)
        timeout = flavour.family.Timeout(DEADLINE_S, connect=0.02)
        async with flavour.client(transport, timeout=timeout) as client:
            for _ in range(8):
                error, _ = await outcome(client.get, WHO)
                assert isinstance(error, flavour.family.ConnectTimeout)
            members = figures(transport).members.values()
            assert sum(member.picks for member in members) == 8 + 2


# -- many services ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("first_calls", "max_services"), [(40, 20), (200, 72)])
@pytest.mark.parametrize(
    "flavour", [each for each in FLAVOURS if each.family.__name__ == "httpx"], ids=repr
)
def test_first_calls_to_more_services_than_are_kept_all_succeed(
    flavour, first_calls, max_services, kit
):
    async def scenario(flavour):
        registry = FakeRegistry(unique(), delay_s=0.05)
        names = [f"s{number}" for number in range(first_calls)]
        for name in (*names, "late"):
            registry.set(name, [kit.a.instance()])
        settings = DiscoverySettings(
            max_services=max_services, grace_s=0, startup_timeout_s=DEADLINE_S
        )
        transport = flavour.transport(registry, discovery=settings)
        answers = []

        def call(name):
            async def get():
                answers.append((await client.get(f"http://{name}/who")).text)

            return get

        async with flavour.client(transport, timeout=60.0) as client:
            await flavour.together(*(call(name) for name in names))
            assert answers == ["a"] * first_calls
            await call("late")()
            assert len(transport.statistics()) <= max_services
            await flavour.until(lambda: registry.watching <= max_services)
        await flavour.until(lambda: registry.watching == 0)

    flavour.run(scenario)


@every(FLAVOURS)
async def test_a_service_in_use_is_kept_and_goes_once_it_is_not(flavour, kit):
    registry, key = listing(kit.a.instance()), unique()
    for name in ("bills", "users"):
        registry.set(name, [kit.a.instance()])
    settings = DiscoverySettings(max_services=1, grace_s=0, startup_timeout_s=DEADLINE_S)
    transport = flavour.transport(registry, discovery=settings)
    answers = []

    async def slow():
        answers.append((await client.get(f"http://orders/silent/{key}")).text)

    async def others():
        await flavour.until(lambda: kit.a.requests(f"/silent/{key}"))
        for name in ("bills", "users"):
            assert (await client.get(f"http://{name}/who")).text == "a"
        assert "orders" in transport.statistics()
        kit.a.open(key)

    async with flavour.client(transport, timeout=DEADLINE_S) as client:
        await flavour.together(slow, others)
        assert answers == ["at last"]
        await client.get("http://bills/who")
        assert list(transport.statistics()) == ["bills"]


# -- closing ---------------------------------------------------------------------------------------


def close_of(flavour, transport):
    async def close():
        if flavour.is_async:
            await transport.aclose()
        else:
            transport.close()

    return close


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("state", ["listing", "sending", "queued", "paused"])
@pytest.mark.parametrize("flavour", FLAVOURS, ids=repr)
def test_a_request_that_closing_cuts_off_says_so(flavour, state, method, kit):
    """It is a `ClosedError`, and a `ConnectError` of the family for handlers of httpx errors."""
    if (state, method) == ("paused", "POST"):
        pytest.skip("what is not idempotent is not tried again")

    async def scenario(flavour):
        with RawServer("hang_up" if state == "paused" else "silent") as server:
            retry = RetryPolicy(backoff_first_s=60.0, backoff_max_s=60.0)
            transport = flavour.transport(
                listing(server.instance()),
                drain_timeout_s=0.05,
                retry=retry,
                rng=_Most(),
                concurrency=ConcurrencyLimits(max_in_flight=1, max_pending=9, max_wait_s=60.0)
                if state == "queued"
                else None,
            )
            if state == "listing":
                registry = FakeRegistry(unique(), delay_s=60.0)
                transport = flavour.transport(registry, drain_timeout_s=0.05)
            # A blocking read does not notice that its socket was closed; its time-out ends it.
            timeout = flavour.family.Timeout(60.0 if flavour.is_async else 1.0)
            client = flavour.client(transport, timeout=timeout)
            errors = []

            async def send():
                error, took_s = await outcome(client.request, method, WHO)
                assert took_s < DEADLINE_S, "it went on after closing"
                errors.append(error)

            async def close():
                await flavour.until(lambda: reached(transport, server))
                await close_of(flavour, transport)()

            def reached(transport, server):
                services = [s for side in transport._sides() for s in side.services.all()]
                if state in {"listing", "paused"}:
                    is_paused = server.requests and not figures(transport).in_flight
                    return services and (state == "listing" or is_paused)
                return server.requests and (state == "sending" or waiting(transport))

            await flavour.together(*([send] * (2 if state == "queued" else 1)), close)
            for error in errors:
                assert isinstance(error, ClosedError), repr(error)
                assert isinstance(error, flavour.family.ConnectError)
                assert "'orders'" in str(error)
                assert "closed" in str(error)
                assert error.request.url.host == "orders"
            await client.aclose()

    flavour.run(scenario)


class _Most:
    """Chance that waits as long as it may, and picks anything."""

    def random(self):
        return 1.0

    def getrandbits(self, count):
        return 1

    def uniform(self, low, high):
        return high


@every(FLAVOURS)
async def test_a_client_that_leaves_its_block_leaves_the_transport_to_the_others(flavour, kit):
    transport = flavour.transport(listing(kit.a.instance()))
    one, other = flavour.client(transport), flavour.client(transport)
    async with other:
        async with one:
            await one.get(WHO)
            await other.get(WHO)
        assert not transport.is_closed
        connections = kit.a.connections
        assert (await other.get(WHO)).text == "a"
        assert kit.a.connections == connections  # nothing was opened anew
    assert transport.is_closed
    assert transport.statistics() == {}


@every(FLAVOURS)
async def test_after_a_client_has_closed_the_others_next_request_opens_anew(flavour, kit):
    registry = listing(kit.a.instance())
    transport = flavour.transport(registry)
    one, other = flavour.client(transport), flavour.client(transport)
    for _ in range(3):
        await one.get(WHO)
        await close_of(flavour, transport)()
        assert transport.is_closed
        assert transport.statistics() == {}
        await flavour.until(lambda: registry.watching == 0)
        assert (await other.get(WHO)).text == "a"
        assert not transport.is_closed
    await one.aclose()
    assert (await other.get(WHO)).text == "a"
    await other.aclose()
    await close_of(flavour, transport)()  # again: nothing
    await flavour.until(lambda: registry.watching == 0)


@every(FLAVOURS)
async def test_a_request_under_way_ends_well_while_another_client_closes(flavour, kit):
    transport, key = flavour.transport(listing(kit.a.instance())), unique()
    one, other = flavour.client(transport), flavour.client(transport, timeout=DEADLINE_S)
    answers = []

    async def slow():
        answers.append((await other.get(f"http://orders/silent/{key}")).text)

    async def close():
        await flavour.until(lambda: kit.a.requests(f"/silent/{key}"))
        await one.aclose()

    async def open_once_it_closes():
        await flavour.until(lambda: transport.is_closed)
        kit.a.open(key)

    await flavour.together(slow, close, open_once_it_closes)
    assert answers == ["at last"]
    assert (await other.get(WHO)).text == "a"
    await other.aclose()


# -- messages --------------------------------------------------------------------------------------

_INTERNAL = re.compile(
    r"0x[0-9a-f]{6}|\b[0-9a-f]{9,}\b|cancel scope|deadline exceeded", re.IGNORECASE
)


@pytest.mark.parametrize(
    "kind", ["connect", "read", "pool", "body", "deadline", "deadline in the body"]
)
@pytest.mark.parametrize("flavour", FLAVOURS, ids=repr)
def test_a_time_out_names_itself_and_nothing_internal(flavour, kind, kit):
    async def scenario(flavour):
        with RawServer("silent") as silent, unreachable_instance() as unreachable:
            instance = {"connect": unreachable, "read": silent.instance()}.get(
                kind, kit.a.instance()
            )
            options = {"limits": flavour.family.Limits(max_connections=1)} if kind == "pool" else {}
            transport = flavour.transport(
                listing(instance),
                **options,
            )
            short = {} if kind.startswith("deadline") else {kind.replace("body", "read"): 0.05}
            timeout = flavour.family.Timeout(DEADLINE_S, **short)
            async with flavour.client(transport, timeout=timeout) as client:
                asks = {}
                if kind.startswith("deadline"):
                    await client.get(WHO)  # the list is known then
                    asks = {"extensions": {"trimtab": {"deadline_s": 0.2}}}
                response = await held(flavour, client, unique()) if kind == "pool" else None
                paths = {"deadline": "silent", "deadline in the body": "held", "body": "held"}
                path = paths.get(kind)
                error, _ = await outcome(
                    client.get, f"http://orders/{path}/{unique()}" if path else WHO, **asks
                )
                if response is not None:
                    await flavour.close(response)
            name = {"connect": "ConnectTimeout", "pool": "PoolTimeout"}.get(kind, "ReadTimeout")
            assert type(error).__name__ == name
            if kind != "body":  # of that the client's own error tells
                wanted = "deadline of 0.2 s" if kind.startswith("deadline") else f"{kind} time-out"
                assert wanted in str(error)
                assert "'orders'" in str(error)
            assert not _INTERNAL.search(str(error)), str(error)
            if not kind.startswith("deadline"):
                assert "deadline" not in str(error)

    flavour.run(scenario)


# -- errors of an attempt --------------------------------------------------------------------------


@every(FLAVOURS)
async def test_an_unknown_error_of_an_attempt_counts_and_is_raised_as_it_is(flavour, kit):
    asked = []

    def fail(request):
        asked.append(request.url.host)
        raise ValueError("a mistake of the transport's")

    instances = [Instance(host=f"h{number}", port=1) for number in range(3)]
    transport = flavour.transport(
        listing(*instances), inner=lambda _: flavour.family.MockTransport(fail)
    )
    async with flavour.client(transport) as client:
        error, _ = await outcome(client.get, WHO)
        assert type(error) is ValueError
        assert str(error) == "a mistake of the transport's"
        assert len(asked) == 1, "it is not known whether it was sent"
        (member,) = (each for each in figures(transport).members.values() if each.picks)
        assert (member.in_flight, member.failures, member.cancelled) == (0, 1, 0)


@every(FLAVOURS)
async def test_after_a_refusal_an_unknown_error_is_named_in_the_history(flavour, kit):
    raised = [flavour.family.ConnectError("refused"), ValueError("a mistake")]

    def fail(request):
        raise raised.pop(0)

    seen = []
    instances = [Instance(host=f"h{number}", port=1) for number in range(3)]
    transport = flavour.transport(
        listing(*instances), inner=lambda _: flavour.family.MockTransport(fail)
    )
    async with flavour.client(transport) as client:
        from trimtab.transports import delivery  # noqa: PLC0415

        explained = delivery._Delivery._explained

        def noted(self):
            seen.append(self.request.history)
            return explained(self)

        delivery._Delivery._explained = noted
        try:
            error, _ = await outcome(client.get, WHO)
        finally:
            delivery._Delivery._explained = explained
    assert type(error) is ValueError
    ((first, second),) = seen
    assert "refused" in first
    assert "unknown: a mistake" in second


@every(FLAVOURS)
async def test_a_mistake_of_the_caller_counts_for_nothing(flavour, kit):
    transport = flavour.transport(listing(kit.a.instance(), kit.b.instance()))
    async with flavour.client(transport) as client:
        # A header's value with a line break: h11 refuses to send it.
        headers = {"x-broken": "a\r\nb"}
        error, _ = await outcome(client.get, WHO, headers=headers)
        assert isinstance(error, flavour.family.LocalProtocolError), repr(error)
        members = figures(transport).members.values()
        assert [sum(each.failures for each in members), sum(each.picks for each in members)] == [
            0,
            1,
        ]
        assert figures(transport).in_flight == 0
        assert (await client.get(WHO)).text in {"a", "b"}


@every(ASYNC_FLAVOURS)
async def test_a_hedged_request_raises_an_unknown_error_as_it_is_too(flavour, kit):
    from trimtab import HedgePolicy  # noqa: PLC0415

    def fail(request):
        raise ValueError("a mistake of the transport's")

    hedge = HedgePolicy(quantile=None, after_s=0.0, min_s=0.0)
    instances = [Instance(host=f"h{number}", port=1) for number in range(3)]
    transport = flavour.transport(
        listing(*instances), hedge=hedge, inner=lambda _: flavour.family.MockTransport(fail)
    )
    async with flavour.client(transport) as client:
        error, _ = await outcome(client.get, WHO)
        assert type(error) is ValueError
        assert figures(transport).in_flight == 0


# -- room beside an instance that is gone ----------------------------------------------------------


@every(FLAVOURS)
async def test_requests_wait_for_room_rather_than_ask_a_dead_instance_again(flavour, kit):
    key, answers = unique(), []
    limits = ConcurrencyLimits(max_in_flight=1, max_pending=9, max_wait_s=DEADLINE_S)
    registry = listing(kit.a.instance(), Instance(host="127.0.0.1", port=9, id="dead"))
    transport = flavour.transport(registry, concurrency=limits)

    async def ask():
        answers.append((await client.get(WHO)).text)

    async def let_go():
        await flavour.until(lambda: waiting(transport) == 2)
        kit.a.open(key)
        await flavour.read(first)

    async with flavour.client(transport, timeout=DEADLINE_S) as client:
        first = await held(flavour, client, key)
        await flavour.together(ask, ask, let_go)
        assert answers == ["a", "a"]


@every(FLAVOURS)
async def test_a_response_that_is_dropped_after_a_retry_is_given_back(flavour, kit):
    registry = listing(Instance(host="127.0.0.1", port=9, id="dead"), kit.a.instance())
    transport = flavour.transport(registry, strategy="round_robin", deadline_s=DEADLINE_S)
    async with flavour.client(transport) as client:
        for _ in range(4):
            request = client.build_request("GET", WHO)
            response = await client.send(request, stream=True)
            assert response.extensions["trimtab"].instance.id == "a"
            del request, response
            gc.collect()
        await flavour.until(lambda: figures(transport).in_flight == 0)


# -- figures, closing ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_figures_of_sync_and_async_use_add_up(family, kit):
    transport = BalancedTransport(listing(kit.a.instance(), kit.b.instance()))

    async def ask(times):
        async with family.AsyncClient(transport=transport) as client:
            for _ in range(times):
                await client.get(WHO)
            return transport.statistics(), transport.state()

    with family.Client(transport=transport) as client:
        for _ in range(5):
            client.get(WHO)
        statistics, state = asyncio.run(ask(7))
        # The last async client has closed what it used, and only that.
        assert transport.statistics()["orders"].picks == 5
    figures = statistics["orders"]
    assert (figures.picks, figures.in_flight, set(state)) == (12, 0, {"orders"})
    assert sum(member.successes for member in figures.members.values()) == 12


@pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_closing_ends_a_sync_request_that_is_blocked(family, scheme):
    """A server that never answers, no time-out: only closing can end it."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ended, asked, over = [], threading.Event(), threading.Event()

    def serve(connection):
        if scheme == "https":
            connection = context.wrap_socket(connection, server_side=True)
        connection.recv(1)
        asked.set()
        over.wait(DEADLINE_S)
        connection.close()

    def ask():
        try:
            client.get(WHO)
        except Exception as error:  # noqa: BLE001 - looked at below
            ended.append(error)

    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=lambda: serve(listener.accept()[0]))
        server.start()
        instance = Instance(host="127.0.0.1", port=listener.getsockname()[1], scheme=scheme)
        transport = BalancedTransport(listing(instance), drain_timeout_s=0.05, verify=trusting)
        client = family.Client(transport=transport, timeout=None)
        asking = threading.Thread(target=ask)
        asking.start()
        assert asked.wait(DEADLINE_S)
        client.close()
        asking.join(DEADLINE_S)
        over.set()
        server.join(DEADLINE_S)
    (error,) = ended
    assert isinstance(error, ClosedError)
    assert isinstance(error, family.ConnectError)
