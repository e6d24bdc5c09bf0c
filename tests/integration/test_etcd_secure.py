"""etcd with TLS, client certificates and users: the contract again, and what is refused."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from types import SimpleNamespace
from uuid import uuid4

import pytest
import trustme

from real.etcd import BINARIES, Etcd
from real.etcd_contract import EtcdHarness
from real.server import running
from registry_kit import reader_of
from trimtab.errors import (
    RegistryCursorLostError,
    RegistryDeniedError,
    RegistryError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance
from trimtab.registries import connect
from trimtab.registries.etcd.wire import watch_of
from trimtab.testing import RegistrarContract, RegistryContract

pytestmark = pytest.mark.real
A = Instance(id="a", host="10.0.0.1", port=81)
VERSIONS = [pytest.param("3.4", marks=pytest.mark.soak), "3.5"]
PASSWORD = "p@ss:/word"
DEADLINE_S = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Certificates: of the server, of a client, and of their authority."""
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, identity in (("server", "127.0.0.1"), ("client", "client.test")):
        certificate = authority.issue_cert(identity)
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    return folder


@pytest.fixture(scope="module", params=VERSIONS)
def secure(request, folder, tmp_path_factory):
    """An etcd with TLS, which wants a client certificate, a user and a password."""
    server = Etcd(BINARIES[request.param], tmp_path_factory.mktemp("etcd"), tls=folder)
    with running(server):
        server.require_users(root="root-secret", user=PASSWORD)
        yield server


@pytest.fixture(params=VERSIONS)
def guarded(request, tmp_path):
    """An etcd of one test, with users and without TLS."""
    with running(Etcd(BINARIES[request.param], tmp_path / "etcd")) as server:
        server.require_users(root="root-secret", user=PASSWORD)
        yield server


def url_of(server, *, user="user", password="p%40ss%3A%2Fword", path="mine/s", options=""):
    login = f"{user}:{password}@" if user else ""
    return f"{server.url.replace('://', f'://{login}')}/{path}?{options}"


def certificates(folder):
    return f"ca={folder}/ca.pem&cert={folder}/client.pem&key={folder}/client.pem"


class SecureHarness(EtcdHarness):
    def __init__(self, server):
        super().__init__(server)
        self.prefix = f"mine/{uuid4().hex[:8]}"
        self.options = certificates(server.tls)

    def connect(self, secret="p%40ss%3A%2Fword"):
        where = {"path": self.prefix, "options": self.options}
        return connect(url_of(self.server, password=secret, **where))


class TestSecureEtcd(RegistryContract, RegistrarContract):
    @pytest.fixture(autouse=True)
    def subject(self, secure):
        self.harness = partial(SecureHarness, secure)


async def refused(url):
    registry = connect(url)
    try:
        await registry.fetch("orders")
    except RegistryError as error:
        return SimpleNamespace(kind=type(error), said=str(error))
    finally:
        await registry.aclose()


@pytest.mark.anyio
class TestCertificates:
    @pytest.mark.parametrize("options", ["", "verify=1"])
    async def test_an_authority_that_is_not_known_is_not_trusted(self, secure, options):
        error = await refused(url_of(secure, options=options))
        assert error.kind is RegistryUnavailableError
        assert "certificate verify failed" in error.said
        assert PASSWORD not in error.said

    async def test_without_a_client_certificate_there_is_no_answer(self, secure, folder):
        error = await refused(url_of(secure, options=f"ca={folder}/ca.pem"))
        assert error.kind is RegistryUnavailableError

    async def test_verification_can_be_switched_off(self, secure, folder):
        options = f"verify=0&cert={folder}/client.pem"
        registry = connect(url_of(secure, options=options))
        assert (await registry.fetch("orders")).instances == ()
        await registry.aclose()

    async def test_plain_words_to_a_port_with_tls(self, secure):
        error = await refused(f"etcd://127.0.0.1:{secure.port}/mine/s")
        assert error.kind is RegistryUnavailableError


@pytest.mark.anyio
class TestUsers:
    async def test_without_a_user_the_remedy_is_named(self, guarded):
        error = await refused(url_of(guarded, user=""))
        assert error.kind is RegistryDeniedError
        assert "user name is empty" in error.said
        assert "write etcd://user:password@" in error.said

    async def test_a_wrong_password_is_denied(self, guarded):
        error = await refused(url_of(guarded, password="s3cr3t"))
        assert error.kind is RegistryDeniedError
        assert "authentication failed" in error.said
        assert "s3cr3t" not in error.said

    async def test_keys_outside_the_prefix_are_denied(self, guarded):
        registry = connect(url_of(guarded, path="elsewhere"))
        for asked in (
            registry.fetch("orders"),
            registry.services(),
            registry.register("orders", A, ttl_s=60),
            registry.deregister("orders", A),
        ):
            with pytest.raises(RegistryDeniedError, match=r"permission denied.*check the rights"):
                await asked
        # Cancelled in a stream that stays open.
        watch = reader_of(registry)._gateway.watch(
            watch_of("elsewhere/", revision=1), silence_s=DEADLINE_S
        )
        async with aclosing(watch):
            with pytest.raises(RegistryDeniedError, match=r"the watch.*permission denied"):
                await anext(watch)
        await registry.aclose()

    async def test_a_token_that_etcd_forgets_is_renewed(self, guarded):
        registry = connect(url_of(guarded))
        await registry.register("orders", A, ttl_s=60)
        before = reader_of(registry)._gateway._tokens._token
        guarded.post("/v3/auth/user/changepw", {"name": "user", "password": PASSWORD})
        watch = reader_of(registry)._gateway.watch(
            watch_of("mine/", revision=1), silence_s=DEADLINE_S
        )
        async with aclosing(watch):
            # A watch is not refused but cancelled; to list anew brings a new token.
            with pytest.raises(RegistryCursorLostError, match="invalid auth token"):
                await anext(watch)
        assert (await registry.fetch("orders")).instances == (A,)
        await registry.heartbeat("orders", A)
        assert reader_of(registry)._gateway._tokens._token != before
        await registry.aclose()

    async def test_users_that_are_asked_for_from_now_on(self, own_etcd):
        """Credentials are there before etcd wants them: nothing is interrupted."""
        registry = connect(url_of(own_etcd))
        await registry.register("orders", A, ttl_s=60)
        async with aclosing(registry.watch("orders")) as watch:
            await anext(watch)
            own_etcd.require_users(root="root-secret", user=PASSWORD)
            # A watch that was open before stays open.
            await registry.heartbeat("orders", A.with_(weight=2))
            listing = await asyncio.wait_for(anext(watch), DEADLINE_S)
            assert listing.instances == (A.with_(weight=2),)
        assert (await registry.fetch("orders")).instances == (A.with_(weight=2),)
        await registry.aclose()
