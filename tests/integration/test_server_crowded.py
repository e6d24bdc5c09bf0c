"""The embedded registry with few open files and many connections that lead nowhere."""

import contextlib
import socket
import subprocess
import sys

import httpx
import pytest

_FILES = 256
_CROWD = 300
_SERVE = (
    f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({_FILES}, {_FILES})); "
    "from trimtab.server import serve; serve(port=0)"
)
_GET = b"GET /v1/catalog/services HTTP/1.1\r\nHost: x\r\n"
_PUT = b"PUT /v1/agent/service/register HTTP/1.1\r\nHost: x\r\n"
CROWDS = {
    "says nothing": b"",
    "half a request": _GET,
    "half a body": _PUT + b"Content-Length: 1000\r\n\r\n{",
    "half a chunked body": _PUT + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    "an answered request": _GET + b"\r\n",
    "a blocking query": b"GET /v1/health/service/x?index=9999&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n",
    "a stream of line breaks": b"\r\n" * 10,
}


@pytest.fixture
def port():
    command = [sys.executable, "-c", _SERVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.kill()


@contextlib.contextmanager
def crowd(port, says):
    with contextlib.ExitStack() as stack:
        for _ in range(_CROWD):
            each = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            # The server may have closed it already, to make room.
            with contextlib.suppress(OSError):
                each.sendall(says)
        yield


@pytest.mark.parametrize("says", CROWDS.values(), ids=CROWDS)
def test_many_useless_connections_lock_nobody_out(port, says):
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, trust_env=False, timeout=10) as before:
        before.get("/v1/catalog/services").raise_for_status()
        with crowd(port, says):
            for number in range(10):
                body = {"Name": "orders", "ID": str(number), "Port": 80}
                # A connection of its own, and one from before, which may have been closed.
                httpx.put(
                    f"{url}/v1/agent/service/register", json=body, trust_env=False, timeout=10
                ).raise_for_status()
                before.get("/v1/catalog/services").raise_for_status()
    with httpx.Client(base_url=url, trust_env=False, timeout=10) as after:
        assert len(after.get("/v1/health/service/orders").json()) == 10


def test_a_server_full_of_busy_connections_says_so(port):
    asks = CROWDS["a blocking query"]
    with crowd(port, asks):
        answer = httpx.get(
            f"http://127.0.0.1:{port}/v1/health/service/x?index=9999&wait=60s",
            trust_env=False,
            timeout=10,
        )
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "1"
