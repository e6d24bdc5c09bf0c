"""Probes over HTTP and TCP, against real sockets."""

import asyncio
import gzip
import logging
import ssl
from contextlib import asynccontextmanager, suppress

import pytest
import trustme

from trimtab import Instance, Status
from trimtab.check import Check
from trimtab.probing import HttpTransports, NetworkCarrier, http_request, probe, probe_http

HTTP = Check(kind="http", path="/health", timeout_s=10.0)
TCP = Check(kind="tcp", timeout_s=10.0)


def answer(status, *headers, body=b""):
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def backend(*answers, host="127.0.0.1", context=None):
    """An instance that gives these answers, one per connection, the last again and again."""
    left, asked, serving = list(answers), [], []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        try:
            asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            said = left.pop(0) if len(left) > 1 else left[0]
            if said is None:
                await reader.read()  # until the other side gives up
            else:
                writer.write(said)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, host, 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Instance(host=host, port=port, scheme="https" if context else None), asked
        await asyncio.gather(*serving, return_exceptions=True)


def probed(check, *answers, context=None, trusted=None, **changes):
    """Probe such an instance once; return the result, and what the instance was asked."""

    async def main():
        carrier = NetworkCarrier(trusted)
        try:
            async with backend(*answers, context=context, **changes) as (instance, asked):
                return await probe(check, instance, carrier), asked
        finally:
            await carrier.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "statuses", "ok"),
    [
        *((200, "200-299", True), (201, "200-299", True), (429, "200-299", False)),
        *((503, "200-299", False), (302, "200-299", False), (302, "200,302", True)),
        (200, "204", False),
    ],
)
def test_the_status_decides(status, statuses, ok):
    result, asked = probed(HTTP.with_(statuses=statuses), answer(status, body=b"words"))
    assert result.ok is ok
    assert result.status is (Status.PASSING if ok else Status.CRITICAL)
    assert result.output.startswith("HTTP GET http://127.0.0.1:")
    assert result.output.endswith(f"/health: {status} X Output: words")
    assert asked[0].startswith("GET /health HTTP/1.1\r\n")


def test_nothing_secret_is_sent(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    async def main():
        carrier = NetworkCarrier()
        async with backend(answer(200, "Set-Cookie: session=1")) as (instance, asked):
            for _ in range(2):
                assert (await probe(HTTP, instance, carrier)).ok
        await carrier.aclose()
        return asked

    for request in asyncio.run(main()):
        assert {line.partition(":")[0].lower() for line in request.splitlines()[1:] if line} == {
            *("host", "accept", "accept-encoding", "connection", "user-agent")
        }


def test_a_redirect_is_followed_on_the_instance_itself_only():
    result, asked = probed(HTTP, answer(302, "Location: /deep"), answer(200))
    assert result.ok
    assert [each.split()[1] for each in asked] == ["/health", "/deep"]


@pytest.mark.parametrize(
    "there",
    [
        *("http://169.254.169.254/latest", "//other/", "https://127.0.0.1/", "http://127.0.0.1:1/"),
        "http://127.0.0.1:x/",
    ],
)
def test_a_redirect_elsewhere_is_not_followed(there):
    result, asked = probed(HTTP, answer(302, f"Location: {there}"))
    assert (result.ok, len(asked)) == (False, 1)
    assert ": 302 X" in result.output


@pytest.mark.parametrize(
    ("status", "asked"), [(302, ["POST", "GET"]), (303, ["POST", "GET"]), (307, ["POST"])]
)
def test_what_has_a_body_is_sent_once(status, asked):
    async def main():
        transports = HttpTransports()
        async with backend(answer(status, "Location: /"), answer(200)) as (instance, seen):
            request = http_request("POST", f"http://{instance.address}/", content="ping")
            result = await probe_http(request, transports.get(verify=True), expects=[200].count)
        await transports.aclose()
        return result.ok, seen

    ok, seen = asyncio.run(main())
    assert [each.split()[0] for each in seen] == asked
    assert ok is (status != 307)
    assert "Content-Length" not in "".join(seen[1:])


def test_redirects_in_a_circle_end():
    result, asked = probed(HTTP, answer(302, "Location: /health"))
    assert (result.ok, len(asked)) == (False, 5)
    assert "more than 5 redirects" in result.output


def test_output_is_bounded_and_never_unpacked():
    result, _ = probed(HTTP, answer(200, body=b"x" * 1_000_000))
    assert len(result.output.partition("Output: ")[2]) == 4096
    bomb = answer(200, "Content-Encoding: gzip", body=gzip.compress(bytes(10_000_000)))
    assert len(probed(HTTP, bomb)[0].output) < 4200


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200", b"\0\0\0", b"SSH-2.0-x\r\n", answer(200, "X: " + "y" * 200_000)]
)
def test_what_is_no_answer_is_critical(said):
    assert not probed(HTTP, said)[0].ok


def test_an_instance_that_never_answers_is_critical_in_time():
    result, _ = probed(HTTP.with_(timeout_s=0.05), None)
    assert result == (Status.CRITICAL, "http check timed out after 0.05 s")


def test_secrets_in_the_path_are_not_told(caplog):
    caplog.set_level(logging.INFO)
    result, asked = probed(HTTP.with_(path="/health?token=abc&deep=1"), answer(503))
    assert "abc" not in result.output + caplog.text
    assert "token=...&deep=1" in result.output
    assert "token=abc" in asked[0]


def test_https_is_checked_against_the_given_authorities():
    authority = trustme.CA()
    server, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    ok = answer(200)
    assert probed(HTTP, ok, context=server, trusted=client)[0].ok
    assert "certificate" in probed(HTTP, ok, context=server)[0].output.lower()
    assert probed(HTTP.with_(verify=False), ok, context=server)[0].ok


def test_tcp_is_open_or_not():
    result, _ = probed(TCP, None)
    assert result.ok
    assert result.output.startswith("TCP connect 127.0.0.1:")
    result, _ = probed(TCP, None, host="::1")
    assert result.output.startswith("TCP connect [::1]:")
    result, _ = probed(TCP.with_(port=1), None)
    assert "ConnectionRefusedError" in result.output


def test_a_host_that_is_no_name_is_critical():
    async def main(check):
        carrier = NetworkCarrier()
        try:
            return await probe(check, Instance(host="no-such-host.invalid", port=80), carrier)
        finally:
            await carrier.aclose()

    assert not asyncio.run(main(HTTP)).ok
    assert not asyncio.run(main(TCP)).ok
