"""The ZooKeeper adapter over TLS and with SASL users."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from contextlib import aclosing
from uuid import uuid4

import pytest
import trustme

from trimtab.errors import RegistryDeniedError, RegistryUnavailableError
from trimtab.instance import Instance
from trimtab.registries import connect
from trimtab.registries.zookeeper import ZooKeeperSettings
from trimtab.registries.zookeeper.session import make_client
from trimtab.testing.registry_harness import until

pytestmark = [pytest.mark.real, pytest.mark.anyio]
DEADLINE_S = 30
A = Instance(id="a", host="10.0.0.1", port=81)


@pytest.fixture
async def open_(guarded_zookeeper):
    """Connect to a base of this test's own; closed at the end."""
    server, opened, base = guarded_zookeeper, [], f"/guarded-{uuid4().hex[:8]}"

    def open_(options="", user="", address=server.tls_address):
        options = options.format(folder=server.folder)
        opened.append(connect(f"zk://{user}{address}{base}?{options}"))
        return opened[-1]

    yield open_
    for registry in opened:
        await registry.aclose()


CERTIFIED = "ca={folder}/ca.pem&cert={folder}/client.pem"


async def test_everything_goes_over_tls_with_a_certificate_of_the_client(open_):
    registry, many = open_(CERTIFIED), [A.with_(id=f"i{n}", port=1 + n) for n in range(50)]
    for instance in many:
        await registry.register("orders", instance, ttl_s=4)
    async with aclosing(open_(CERTIFIED).watch("orders")) as watch:
        assert set((await anext(watch)).instances) == set(many)
        await registry.deregister("orders", many[0])
        assert set((await anext(watch)).instances) == set(many[1:])


async def test_an_untrusted_certificate_on_either_side_is_refused(open_, guarded_zookeeper):
    by_number = f"127.0.0.1:{guarded_zookeeper.ports[1]}"
    attempts = {
        "CERTIFICATE_VERIFY_FAILED": open_("tls&timeout=2s"),
        "not connected": open_("ca={folder}/ca.pem&timeout=2s"),
        "IP address mismatch": open_(f"{CERTIFIED}&timeout=2s", address=by_number),
        "no answer": open_("timeout=2s"),
    }
    asked = [registry.fetch("orders") for registry in attempts.values()]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for complaint, answer in zip(attempts, answers, strict=True):
        assert isinstance(answer, RegistryUnavailableError)
        assert complaint in str(answer)


async def test_an_expired_trust_may_be_overridden(open_):
    registry = open_("verify=0&cert={folder}/client.pem")
    assert (await registry.fetch("orders")).instances == ()


async def test_users_of_sasl_are_known_by_their_password(open_, guarded_zookeeper, caplog):
    caplog.set_level(1)
    address = guarded_zookeeper.address
    registry = open_("sasl&acl=creator", user="me:s3cr3t@", address=address)
    await registry.register("orders", A, ttl_s=4)
    stranger = open_("sasl", user="me:wr0ng@", address=address)
    for asked in (stranger.fetch("orders"), stranger.register("orders", A, ttl_s=4)):
        with pytest.raises(RegistryDeniedError, match="the user") as caught:
            await asked
        assert "wr0ng" not in str(caught.value)
    anonymous = open_(address=address)
    assert (await anonymous.fetch("orders")).instances == (A,)
    with pytest.raises(RegistryDeniedError, match="NoAuthError"):
        await anonymous.deregister("orders", A)
    await until(registry, "orders", lambda each: each.instances == (A,), DEADLINE_S)
    assert "s3cr3t" not in caplog.text
    assert "wr0ng" not in caplog.text
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


def test_what_tls_has_decrypted_already_counts_as_readable():
    """Two answers in one record: `select` would wait for a third."""
    authority = trustme.CA()
    trusted, own = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(trusted)
    authority.issue_cert("localhost").configure_cert(own)
    ours, theirs = socket.socketpair()

    def serve():
        with own.wrap_socket(theirs, server_side=True) as link:
            link.sendall(b"ab")
            link.recv(1)

    server = threading.Thread(target=serve)
    server.start()
    handler = make_client(ZooKeeperSettings(url="zk://h:1", hosts="h:1", tls=trusted), 4).handler
    with trusted.wrap_socket(ours, server_hostname="localhost") as link:
        assert link.recv(1) == b"a"
        assert handler.select([link], [], [], 0)[0] == [link]
        assert link.recv(1) == b"b"
        assert handler.select([link], [], [], 0) == ([], [], [])
        link.sendall(b"c")
    server.join(DEADLINE_S)
