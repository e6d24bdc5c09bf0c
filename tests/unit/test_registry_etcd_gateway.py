"""The etcd adapter against recorded answers: members, tokens, watches, leases."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import aclosing
from random import Random

import httpx
import pytest

from registry_kit import etcd_registry
from trimtab.errors import (
    NotRegisteredError,
    RegistryAnswerError,
    RegistryCursorLostError,
    RegistryDeniedError,
    RegistryError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance
from trimtab.registries.etcd.entries import value_of

pytestmark = pytest.mark.anyio
MINE = Instance(id="a", host="10.0.0.1", port=80)
OTHER = Instance(id="b", host="10.0.0.2", port=80)
NO_LEADER = httpx.Response(503, json={"code": 14, "message": "etcdserver: no leader"})
NO_TOKEN = httpx.Response(400, json={"code": 3, "message": "etcdserver: user name is empty"})
OLD_TOKEN = httpx.Response(401, json={"code": 16, "message": "etcdserver: invalid auth token"})


class Body(httpx.AsyncByteStream):
    """Messages of a watch, then silence unless `ends`."""

    def __init__(self, *messages, ends=False):
        self.messages, self.ends, self.closed = messages, ends, False

    async def __aiter__(self):
        for message in self.messages:
            yield json.dumps(message).encode() + b"\n"
        if not self.ends:
            await asyncio.Event().wait()

    async def aclose(self):
        self.closed = True


class Etcd:
    """Answers by path with what the test says, the last for ever; keeps what it was asked."""

    def __init__(self, **answers):
        self.answers = {name: list(each) for name, each in answers.items()}
        self.asked = []

    async def __call__(self, request):
        name = request.url.path.rpartition("/")[2]
        self.asked.append((name, request))
        answers = self.answers[name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Body):
            return httpx.Response(200, stream=answer)
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def registry(self, url="etcd://h:1/s", **settings):
        transport = httpx.MockTransport(self)
        return etcd_registry(url, transport=transport, rng=Random(1), **settings)

    def names(self):
        return [name for name, _ in self.asked]

    def hosts(self):
        return [request.url.host for _, request in self.asked]

    def body(self, name, number=-1):
        return json.loads([each for each in self.asked if each[0] == name][number][1].content)

    def tokens(self):
        return [request.headers.get("authorization") for _, request in self.asked]


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def kv(instance, **others):
    key = f"s/orders/{instance.id}"
    return {"key": b64(key), "value": b64(value_of(instance)), "mod_revision": "3", **others}


def listed(*instances, revision=5, cluster="1", **others):
    kvs = [kv(each, **others) for each in instances]
    return {"header": {"cluster_id": cluster, "revision": str(revision)}, "kvs": kvs}


def message(**fields):
    return {"result": {"header": {"revision": "6"}, **fields}}


CREATED = message(created=True)
PUT = message(events=[{"kv": kv(OTHER)}])
DELETED = message(events=[{"type": "DELETE", "kv": {"key": b64("s/orders/a")}}])


async def first(registry, how_many=1):
    async with aclosing(registry.watch("orders")) as watch:
        return [(await anext(watch)).instances for _ in range(how_many)]


class TestReading:
    async def test_every_question_wants_a_member_with_a_leader(self):
        etcd = Etcd(range=[listed(MINE)], watch=[Body(CREATED, PUT)])
        await first(etcd.registry(), 2)
        for _, request in etcd.asked:
            assert request.headers["grpc-metadata-hasleader"] == "true"
            assert request.headers["accept-encoding"] == "identity"

    async def test_the_list_then_a_watch_from_the_next_revision(self):
        etcd = Etcd(range=[listed(MINE, revision=7)], watch=[Body(CREATED, PUT, DELETED)])
        assert await first(etcd.registry(), 3) == [(MINE,), (MINE, OTHER), (OTHER,)]
        assert etcd.body("range") == {"key": b64("s/orders/"), "range_end": b64("s/orders0")}
        assert etcd.body("watch")["create_request"] == {
            "key": b64("s/orders/"),
            "range_end": b64("s/orders0"),
            "start_revision": "8",
        }

    async def test_a_sign_of_life_is_a_fresh_list(self):
        etcd = Etcd(range=[listed(MINE)], watch=[Body(CREATED, message())])
        assert await first(etcd.registry(), 2) == [(MINE,)] * 2
        assert etcd.names() == ["range", "watch"]

    async def test_silence_leads_to_the_whole_list_and_is_no_error(self):
        body = Body(CREATED)
        etcd = Etcd(range=[listed(MINE), listed(OTHER, revision=90)], watch=[body])
        assert await first(etcd.registry(resync_s=0.02), 2) == [(MINE,), (OTHER,)]
        assert etcd.names() == ["range", "watch", "range"]
        assert body.closed

    async def test_silence_is_spread(self, monkeypatch):
        asked = []
        timeout = asyncio.timeout
        monkeypatch.setattr(asyncio, "timeout", lambda each: asked.append(each) or timeout(each))
        etcd = Etcd(range=[listed(MINE)], watch=[Body(CREATED, PUT)])
        for _ in range(20):
            registry = etcd.registry(resync_s=20)
            registry.watch.__self__._rng = Random(len(asked))
            await first(registry, 2)
        waits = {each for each in asked if each != 5}
        assert len(waits) > 10
        assert all(15 <= each <= 20 for each in waits)

    @pytest.mark.parametrize(
        ("last", "error", "said"),
        [
            ([message(canceled=True, compact_revision="9")], RegistryCursorLostError, "compacted"),
            ([message(created=True, canceled=True)], RegistryCursorLostError, "no reason"),
            (
                [message(canceled=True, cancel_reason="etcdserver: permission denied")],
                RegistryDeniedError,
                "check the rights",
            ),
            ([{"error": {"grpc_code": 14, "message": "x"}}], RegistryUnavailableError, "code 14"),
            ([{"error": {"code": 14, "message": "x"}}], RegistryUnavailableError, "code 14"),
            ([{"error": {"code": 11, "message": "compacted"}}], RegistryCursorLostError, "code 11"),
            ([{}], RegistryAnswerError, "neither result nor error"),
            ([{"result": 7}], RegistryAnswerError, "cannot be read"),
            ([message(events=[{"kv": {"key": "!"}}])], RegistryAnswerError, "cannot be read"),
            ([], RegistryUnavailableError, "the watch was ended"),
        ],
    )
    async def test_a_watch_that_breaks_closes_its_stream(self, last, error, said):
        body = Body(CREATED, *last, ends=True)
        etcd = Etcd(range=[listed(MINE)], watch=[body])
        with pytest.raises(error, match=said):
            await first(etcd.registry(), 2)
        assert body.closed

    async def test_a_refused_watch_is_told_in_etcds_words(self):
        etcd = Etcd(range=[listed(MINE)], watch=[NO_LEADER])
        with pytest.raises(RegistryUnavailableError, match=r"etcd://h:1/s: etcdserver: no leader"):
            await first(etcd.registry(), 2)

    async def test_revisions_that_go_back_are_a_reset(self):
        etcd = Etcd(
            range=[
                listed(revision=90),
                listed(revision=4),
                listed(revision=4),
                listed(revision=5, cluster="2"),
            ]
        )
        registry = etcd.registry()
        resets = [(await registry.fetch("orders")).reset for _ in range(4)]
        assert resets == [False, True, False, True]
        # Each service has a memory of its own: it was last read before the loss, or after it.
        assert not (await registry.fetch("billing")).reset

    async def test_an_answer_that_is_older_only_because_it_was_slow_is_no_reset(self):
        arrived, go_on = asyncio.Event(), asyncio.Event()
        answers = [listed(revision=5), listed(revision=6), listed(revision=9)]

        async def handle(request):
            answer = answers.pop(0)
            if answer["header"]["revision"] == "6":
                arrived.set()
                await go_on.wait()
            return httpx.Response(200, json=answer)

        registry = etcd_registry(poll=True, url="etcd://h/s", transport=httpx.MockTransport(handle))
        await registry.fetch("orders")
        slow = asyncio.ensure_future(registry.fetch("orders"))
        await arrived.wait()
        await registry.fetch("orders")
        go_on.set()
        assert not (await slow).reset

    async def test_services(self):
        etcd = Etcd(range=[listed(MINE)])
        assert await etcd.registry().services() == ["orders"]
        question = {"key": b64("s/"), "range_end": b64("s0"), "keys_only": True}
        assert etcd.body("range") == question


class TestMembers:
    async def test_one_member_is_asked_until_it_fails(self):
        etcd = Etcd(range=[listed(MINE), NO_LEADER, listed(MINE), listed(MINE)])
        registry = etcd.registry("etcd://h0,h1,h2/s")
        await registry.fetch("orders")
        with pytest.raises(RegistryUnavailableError):
            await registry.fetch("orders")
        await registry.fetch("orders")
        await registry.fetch("orders")
        asked = etcd.hosts()
        assert asked[0] == asked[1]
        assert asked[2] == asked[3] == f"h{(int(asked[0][1]) + 1) % 3}"

    @pytest.mark.parametrize(
        ("trouble", "error"),
        [
            (httpx.ConnectError("refused"), RegistryUnavailableError),
            (httpx.Response(502, text="<html>"), RegistryUnavailableError),
            (httpx.Response(200, text=""), RegistryAnswerError),
            (httpx.Response(200, text="<html>"), RegistryAnswerError),
        ],
    )
    async def test_what_turns_to_the_next_member_and_names_this_one(self, trouble, error):
        etcd = Etcd(range=[trouble, listed(MINE)])
        registry = etcd.registry("etcd://h0,h1/s")
        with pytest.raises(error) as caught:
            await registry.fetch("orders")
        await registry.fetch("orders")
        assert f"etcd://{etcd.hosts()[0]}:2379/s: " in str(caught.value)
        assert len(set(etcd.hosts())) == 2

    async def test_a_refusal_does_not(self):
        denied = httpx.Response(403, json={"code": 7, "message": "etcdserver: permission denied"})
        etcd = Etcd(range=[denied])
        registry = etcd.registry("etcd://h0,h1/s")
        for _ in range(2):
            with pytest.raises(RegistryDeniedError):
                await registry.fetch("orders")
        assert len(set(etcd.hosts())) == 1

    async def test_a_watch_that_breaks_turns_to_the_next_member(self):
        torn = Body(CREATED, ends=True)
        etcd = Etcd(range=[listed(MINE)], watch=[torn, Body(CREATED, PUT)])
        registry = etcd.registry("etcd://h0,h1/s")
        with pytest.raises(RegistryUnavailableError):
            await first(registry, 2)
        await first(registry, 2)
        hosts = etcd.hosts()
        assert hosts[0] == hosts[1] != hosts[2] == hosts[3]

    async def test_an_answer_that_is_too_large_is_refused(self):
        registry = Etcd(range=[listed(MINE)]).registry(max_bytes=64)
        with pytest.raises(RegistryAnswerError, match="larger than 64 bytes"):
            await registry.fetch("orders")


class TestTokens:
    URL = "etcd://me:s3cr3t@h:1/s"

    def etcd(self, *ranges, tokens=("t1", "t2", "t3"), **others):
        answers = [{"header": {}, "token": token} for token in tokens]
        return Etcd(range=ranges, authenticate=answers, **others)

    async def test_the_token_is_asked_for_once_and_sent_bare(self):
        etcd = self.etcd(listed(MINE), watch=[Body(CREATED, PUT)])
        registry = etcd.registry(self.URL)
        await first(registry, 2)
        await registry.fetch("orders")
        assert etcd.names() == ["authenticate", "range", "watch", "range"]
        assert etcd.tokens() == [None, "t1", "t1", "t1"]
        assert etcd.body("authenticate") == {"name": "me", "password": "s3cr3t"}

    @pytest.mark.parametrize("refusal", [OLD_TOKEN, NO_TOKEN])
    async def test_a_token_that_has_lapsed_is_renewed_and_the_question_repeated(self, refusal):
        etcd = self.etcd(listed(MINE), refusal, listed(MINE))
        registry = etcd.registry(self.URL)
        for _ in range(2):
            assert (await registry.fetch("orders")).instances == (MINE,)
        assert etcd.tokens() == [None, "t1", "t1", None, "t2"]

    async def test_a_token_that_is_refused_again_is_denied(self):
        etcd = self.etcd(OLD_TOKEN)
        with pytest.raises(RegistryDeniedError, match="invalid auth token"):
            await etcd.registry(self.URL).fetch("orders")
        assert etcd.names() == ["authenticate", "range", "authenticate", "range"]

    async def test_many_questions_ask_for_one_token(self):
        asked = []

        async def handle(request):
            asked.append(request.url.path)
            await asyncio.sleep(0)
            if request.url.path.endswith("authenticate"):
                return httpx.Response(200, json={"token": f"t{len(asked)}"})
            is_first = request.headers["authorization"] == "t1"
            return OLD_TOKEN if is_first else httpx.Response(200, json=listed(MINE))

        registry = etcd_registry(poll=True, url=self.URL, transport=httpx.MockTransport(handle))
        await asyncio.gather(*(registry.fetch("orders") for _ in range(5)))
        assert asked.count("/v3/auth/authenticate") == 2

    async def test_a_wrong_password_is_denied_and_not_told(self):
        words = "etcdserver: authentication failed, invalid user ID or password"
        etcd = Etcd(authenticate=[httpx.Response(400, json={"code": 3, "message": words})])
        with pytest.raises(RegistryDeniedError, match="authentication failed") as caught:
            await etcd.registry(self.URL).fetch("orders")
        assert "s3cr3t" not in str(caught.value)

    @pytest.mark.parametrize("status", [400, 502])
    async def test_secrets_that_a_server_repeats_are_hidden(self, status):
        login = httpx.Response(status, text='no: {"name":"me","password":"s3cr3t \\"x"}')
        etcd = Etcd(authenticate=[login])
        with pytest.raises(RegistryError, match="no: ") as caught:
            await etcd.registry("etcd://me:s3cr3t%20%22x@h/s").fetch("orders")
        assert "s3cr3t" not in str(caught.value)
        echo = {"code": 7, "message": "denied: Authorization: t0ken-1"}
        for refusal in (
            httpx.Response(403, json=echo),
            httpx.Response(status, text=echo["message"]),
        ):
            etcd = self.etcd(refusal, tokens=["t0ken-1"])
            with pytest.raises(RegistryError, match="denied: ") as caught:
                await etcd.registry(self.URL).fetch("orders")
            assert "t0ken-1" not in str(caught.value)

    async def test_where_authentication_is_off_nothing_is_sent_until_it_is_on(self):
        off = {"code": 9, "message": "etcdserver: authentication is not enabled"}
        etcd = Etcd(
            range=[listed(MINE), NO_TOKEN, listed(MINE)],
            authenticate=[httpx.Response(400, json=off), {"token": "t1"}],
        )
        registry = etcd.registry(self.URL)
        await registry.fetch("orders")
        await registry.fetch("orders")
        assert etcd.tokens() == [None, None, None, None, "t1"]

    async def test_without_credentials_the_remedy_is_named(self):
        with pytest.raises(RegistryDeniedError, match="write etcd://user:password@"):
            await Etcd(range=[NO_TOKEN]).registry().fetch("orders")

    async def test_a_member_that_does_not_authenticate_is_left(self):
        etcd = Etcd(authenticate=[NO_LEADER, {"token": "t1"}], range=[listed(MINE)])
        registry = etcd.registry("etcd://me:s3cr3t@h0,h1/s")
        with pytest.raises(RegistryUnavailableError):
            await registry.fetch("orders")
        await registry.fetch("orders")
        assert len(set(etcd.hosts())) == 2


def granted(id_):
    return {"header": {}, "ID": str(id_), "TTL": "10"}


def alive(ttl_s=10):
    return {"result": {"ID": "1", **({"TTL": str(ttl_s)} if ttl_s else {})}}


class TestLeases:
    async def registered(self, **answers):
        etcd = Etcd(grant=[granted(1), granted(2)], put=[{}], revoke=[{}], **answers)
        registry = etcd.registry()
        await registry.register("orders", MINE, ttl_s=10)
        return etcd, registry

    async def test_a_key_is_put_under_a_new_lease(self):
        etcd, _ = await self.registered()
        assert etcd.names() == ["grant", "put"]
        assert etcd.body("grant") == {"TTL": "10"}
        body = etcd.body("put")
        assert (body["key"], body["lease"]) == (b64("s/orders/a"), "1")
        assert json.loads(base64.b64decode(body["value"]))["Addr"] == "10.0.0.1:80"

    async def test_registering_again_gives_the_lease_before_back(self):
        etcd, registry = await self.registered()
        await registry.register("orders", MINE, ttl_s=10)
        assert etcd.names()[2:] == ["grant", "put", "revoke"]
        assert (etcd.body("put")["lease"], etcd.body("revoke")["ID"]) == ("2", "1")

    async def test_a_lease_that_cannot_be_given_back_lapses_by_itself(self):
        etcd, registry = await self.registered(range=[listed(MINE, lease="2")], keepalive=[alive()])
        etcd.answers["revoke"] = [NO_LEADER]
        await registry.register("orders", MINE, ttl_s=10)
        await registry.heartbeat("orders", MINE)

    async def test_a_key_that_could_not_be_put_leaves_the_lease_before_in_place(self):
        etcd, registry = await self.registered(range=[listed(MINE, lease="1")], keepalive=[alive()])
        etcd.answers["put"] = [NO_LEADER]
        with pytest.raises(RegistryUnavailableError):
            await registry.register("orders", MINE, ttl_s=10)
        await registry.heartbeat("orders", MINE)
        assert etcd.body("keepalive") == {"ID": "1"}

    async def test_a_heartbeat_looks_at_the_key_and_renews_the_lease(self):
        etcd, registry = await self.registered(range=[listed(MINE, lease="1")], keepalive=[alive()])
        await registry.heartbeat("orders", MINE)
        assert etcd.names()[2:] == ["range", "keepalive"]
        assert etcd.body("range") == {"key": b64("s/orders/a")}

    async def test_a_heartbeat_writes_what_has_changed(self):
        etcd, registry = await self.registered(range=[listed(MINE, lease="1")], keepalive=[alive()])
        await registry.heartbeat("orders", MINE.with_(status="draining"))
        body = etcd.body("put")
        assert (etcd.names()[-1], body["lease"]) == ("put", "1")
        assert "draining" in base64.b64decode(body["value"]).decode()

    @pytest.mark.parametrize(
        ("found", "renewed", "said"),
        [
            (listed(), alive(), "has lapsed, or its key was deleted"),
            (listed(MINE, lease="9"), alive(), "does another process register the same id"),
            (listed(MINE), alive(), "does another process register the same id"),
            (listed(MINE, lease="1"), alive(0), "its lease has lapsed"),
        ],
    )
    async def test_a_forgotten_registration_is_an_error(self, found, renewed, said):
        _, registry = await self.registered(range=[found], keepalive=[renewed])
        with pytest.raises(NotRegisteredError, match=said):
            await registry.heartbeat("orders", MINE)

    @pytest.mark.parametrize(
        ("renewed", "error"),
        [
            ({"error": {"code": 14, "message": "etcdserver: no leader"}}, RegistryUnavailableError),
            ({"error": None}, RegistryRequestError),
            (httpx.Response(200, text=""), RegistryAnswerError),
        ],
    )
    async def test_a_heartbeat_that_fails_is_not_forgotten(self, renewed, error):
        _, registry = await self.registered(range=[listed(MINE, lease="1")], keepalive=[renewed])
        with pytest.raises(error):
            await registry.heartbeat("orders", MINE)

    async def test_another_object_does_not_know_the_lease(self):
        etcd = Etcd(range=[listed(MINE, lease="1")])
        with pytest.raises(NotRegisteredError):
            await etcd.registry().heartbeat("orders", MINE)

    async def test_deregistering_gives_the_lease_back_and_with_it_the_key(self):
        etcd, registry = await self.registered(deleterange=[{}])
        await registry.deregister("orders", MINE)
        assert etcd.names()[2:] == ["revoke"]
        await registry.deregister("orders", MINE)
        assert etcd.names()[3:] == ["deleterange"]
        assert etcd.body("deleterange") == {"key": b64("s/orders/a")}

    async def test_deregistering_what_has_lapsed_is_fine(self):
        etcd, registry = await self.registered()
        gone = {"code": 5, "message": "etcdserver: requested lease not found"}
        etcd.answers["revoke"] = [httpx.Response(404, json=gone)]
        await registry.deregister("orders", MINE)

    async def test_deregistering_may_be_repeated_after_an_outage(self):
        etcd, registry = await self.registered()
        etcd.answers["revoke"] = [NO_LEADER, {}]
        with pytest.raises(RegistryUnavailableError):
            await registry.deregister("orders", MINE)
        await registry.deregister("orders", MINE)
        assert etcd.names()[2:] == ["revoke", "revoke"]
