"""How programs end: forked children, `atexit` handlers in any order, objects that are dropped."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import httpx2
import pytest

from transport_kit import HttpServer
from trimtab import BalancedTransport, Balancer, Directory, Instance, register
from trimtab.server import EmbeddedRegistry

LIMIT_S = 240.0
# Newer Pythons warn of forks in programs with threads, which this is about.
PYTHON = [sys.executable, "-W", "ignore::DeprecationWarning", "-c"]


@pytest.fixture(scope="module")
def server():
    with HttpServer("a") as server:
        yield server


@pytest.fixture(scope="module")
def url(server):
    with EmbeddedRegistry() as registry, register(registry.url, "orders", server.instance()):
        yield registry.url


def listed(url, service):
    with Directory(url) as directory:
        return [each.address for each in directory.instances(service)]


def run(program, *arguments):
    return subprocess.run(
        [*PYTHON, textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


# -- forks -----------------------------------------------------------------------------------------

FORKING = """
    import asyncio, os, signal, socket, sys
    from contextlib import ExitStack
    import httpx
    from trimtab import Directory, Instance, register
    from trimtab.alerts import Alerter

    url, way, leaving = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", 0))
    address = "%s:%d" % listener.getsockname()
    ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok"

    def listed():
        with Directory(url) as directory:
            return [each.address for each in directory.instances("forking")]

    def serve(calls):
        for _ in range(calls):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(ANSWER)

    def work():
        children = []
        for _ in range(2):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                serve(8)
                if leaving == "sys.exit":
                    sys.exit(7)
                elif leaving == "raise":
                    sys.stderr = open(os.devnull, "w")
                    raise SystemExit(7)
                return 7
            children.append(child)
        assert [httpx.get(f"http://{address}").text for _ in range(16)] == ["ok"] * 16
        codes = [os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in children]
        assert codes == [7, 7], codes
        assert listed() == [address], "its children have ended, and the parent serves on"
        return 0

    lease = register(url, "forking", Instance(host="127.0.0.1", port=listener.getsockname()[1]))

    async def in_async_code():
        async with lease:
            return work()

    if way == "async":
        code = asyncio.run(in_async_code())
    else:
        with ExitStack() as stack:
            stack.enter_context(Alerter(lambda alert: None))
            stack.enter_context(lease)
            code = work()
    if code == 0:
        assert listed() == []
    sys.exit(code)
"""


@pytest.mark.parametrize("leaving", ["sys.exit", "return"])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_forked_child_leaves_the_registration_to_its_parent_and_ends(url, way, leaving):
    done = run(FORKING, url, way, leaving)
    assert (done.returncode, done.stderr) == (0, "")


# -- the interpreter's end -------------------------------------------------------------------------

ENDING = """
    import atexit, sys
    url, order = sys.argv[1:]
    held = []

    def close():
        for each in held:
            each()
        print("closed")

    if order == "before the import":
        atexit.register(close)
    import httpx
    from trimtab import Balancer, BalancedTransport, Directory, Instance, register
    from trimtab.alerts import Alerter
    if order in {"after the import", "the first use"}:
        atexit.register(close)
    if order == "the first use":
        held += [lambda: Directory(url).sync().instances("orders")]
        sys.exit()

    client = httpx.Client(transport=BalancedTransport(url, trust_env=False))
    assert client.get("http://orders/who").text == "a"
    held += [lambda: client.get("http://orders/who").raise_for_status(), client.close]
    unused = Directory(url).sync()
    unused.instances("orders")
    directory = Directory(url).sync()
    directory.instances("orders")
    held += [lambda: directory.instances("orders"), directory.close, directory.close]
    balancer = Balancer(url)
    balancer.call("orders", lambda instance: None)
    held += [balancer.close]
    for block in (
        register(url, "ending", Instance(host="127.0.0.1", port=1)), Alerter(lambda alert: None)
    ):
        block.__enter__()
        held += [lambda block=block: block.__exit__(None, None, None)]
    if order == "after the first use":
        atexit.register(close)
"""


@pytest.mark.parametrize(
    "order", ["before the import", "after the import", "after the first use", "the first use"]
)
def test_what_is_closed_by_atexit_closes_in_any_order(url, order):
    # By name: finding its address takes a thread, and none starts at the end.
    done = run(ENDING, url.replace("127.0.0.1", "localhost"), order)

    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")
    assert listed(url, "ending") == []


# -- what is dropped without being closed ----------------------------------------------------------


def sockets():
    """Count this process's sockets."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found += str(each.readlink()).startswith("socket:")
    return found


def called(family, url):
    client = family.Client(transport=BalancedTransport(url, trust_env=False), trust_env=False)
    assert client.get("http://orders/who").text == "a"


def balanced(_, url):
    assert Balancer(url).call("orders", lambda instance: instance.port)


def listing(_, url):
    assert Directory(url).sync().instances("orders")


@pytest.mark.parametrize(
    ("use", "family"),
    [(called, httpx), (called, httpx2), (balanced, None), (listing, None)],
    ids=["httpx", "httpx2", "balancer", "directory"],
)
@pytest.mark.parametrize("scheme", ["consul", "static"])
def test_what_is_dropped_frees_its_sockets(use, family, scheme, url, server, wait_until):
    registry = url if scheme == "consul" else f"static://{server.instance().address}"
    before, threads = sockets(), threading.active_count()
    for _ in range(40):
        use(family, registry)
    gc.collect()
    # Those of the server's side are in this process too.
    wait_until(lambda: sockets() <= before + 4)
    assert threading.active_count() <= threads + 2


def test_what_async_code_drops_frees_its_sockets(url, server):
    async def call():
        transport = BalancedTransport(url, trust_env=False)
        client = httpx.AsyncClient(transport=transport, trust_env=False)
        assert (await client.get("http://orders/who")).text == "a"
        await Directory(url).instances("orders")
        await Balancer(url).ready("orders")

    async def main():
        before = sockets()
        for _ in range(40):
            await call()
        async with asyncio.timeout(LIMIT_S):
            # All of them: what is left when the loop ends would be collected in another test.
            while sockets() > before:
                gc.collect()
                await asyncio.sleep(0.01)

    asyncio.run(main())
    gc.collect()


def test_a_response_outlives_the_transport_that_was_dropped(url, wait_until):
    with HttpServer("own") as server:
        transport = BalancedTransport(f"static://{server.instance().address}", trust_env=False)
        client = httpx.Client(transport=transport, trust_env=False)
        response = client.send(client.build_request("GET", "http://orders/who"), stream=True)
        del client, transport
        gc.collect()
        # A list of another user comes and goes on the same thread, after the one that was dropped.
        assert listed(url, "orders")
        assert server.connections == 1
        assert response.read() == b"own"
        wait_until(lambda: server.connections == 0)


def test_a_directory_with_a_callback_goes_on_when_dropped(url, wait_until):
    seen = []
    Directory(url).sync().on_change(
        "watched", lambda snapshot: seen.append(len(snapshot.instances))
    )
    gc.collect()
    wait_until(lambda: seen == [0])
    with register(url, "watched", Instance(host="10.0.0.1", port=1)):
        wait_until(lambda: seen == [0, 1])


def test_a_registration_that_is_dropped_is_withdrawn_and_told(url, wait_until, caplog):
    register(url, "dropped", Instance(host="10.0.0.1", port=1)).__enter__()
    gc.collect()
    wait_until(lambda: listed(url, "dropped") == [])
    assert "10.0.0.1:1" in caplog.text
    assert "dropped without being closed" in caplog.text


def test_a_program_may_drop_a_thousand_clients(url):
    program = """
        import resource, sys
        import httpx
        from trimtab import BalancedTransport

        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        for _ in range(1000):
            client = httpx.Client(
                transport=BalancedTransport(sys.argv[1], trust_env=False), trust_env=False
            )
            assert client.get("http://orders/who").text == "a"
    """
    done = run(program, url)
    assert (done.returncode, done.stderr) == (0, "")
