"""etcd's words and ours: URLs, keys, values, refusals. The real servers are in integration."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from registry_kit import etcd_registry
from trimtab.errors import (
    ConfigurationError,
    InvalidInstanceError,
    NotRegisteredError,
    RegistryAnswerError,
    RegistryCursorLostError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance
from trimtab.registries import Registrar, WatchableRegistry, connect
from trimtab.registries.asking import Answer
from trimtab.registries.etcd import EtcdSettings
from trimtab.registries.etcd.entries import (
    View,
    key_of,
    lease_ttl_s,
    read_value,
    services_of,
    value_of,
)
from trimtab.registries.etcd.wire import (
    RangeAnswer,
    WatchMessage,
    canceled,
    key_named,
    keys_under,
    put_of,
    read,
    refused,
    watch_of,
)

MINE = Instance(id="a", host="10.0.0.1", port=80)


def b64(text):
    return base64.b64encode(text.encode()).decode()


def kv(key, value="", **others):
    return {"key": b64(key), "value": b64(value), "mod_revision": "7", **others}


def range_answer(*kvs):
    body = {"header": {"revision": "9"}, "kvs": list(kvs)}
    return read("here", json.dumps(body).encode(), RangeAnswer)


def view(*kvs, reset=False):
    return View("here", "s/orders/", range_answer(*kvs), reset=reset)


def result(**fields):
    return read("here", json.dumps({"result": fields}).encode(), WatchMessage).result


class TestUrls:
    def test_members_prefix_and_settings(self):
        registry = connect("etcd://h1,h2:2380,[::1]:1/my/services/?resync=15s&timeout=500ms")
        assert isinstance(registry, WatchableRegistry)
        assert isinstance(registry, Registrar)
        assert registry.url == "etcd://h1:2379,h2:2380,[::1]:1/my/services"
        same = etcd_registry("etcd://h1,h2:2380,[::1]:1/my/services", resync_s=15, timeout_s=0.5)
        assert registry.key == same.key
        assert registry.key != connect("etcd://h1,h2:2380,[::1]:1/my/services").key

    @pytest.mark.parametrize(
        ("url", "prefix", "shown"),
        [
            ("etcd://h", "", "etcd://h:2379"),
            ("etcd://h/", "", "etcd://h:2379"),
            ("etcd://h/a/b/", "a/b/", "etcd://h:2379/a/b"),
            ("etcd://h//a", "/a/", "etcd://h:2379//a"),
            ("etcd://h/a%20b", "a b/", "etcd://h:2379/a%20b"),
        ],
    )
    def test_the_path_is_the_prefix_of_the_keys(self, url, prefix, shown):
        settings = EtcdSettings.from_url(url)
        assert (settings.prefix, settings.url) == (prefix, shown)
        assert list(settings.bases) == ["http://h:2379"]

    def test_poll_gives_a_registry_that_is_not_watched(self):
        registry = connect("etcd://h/s?poll=1")
        assert not isinstance(registry, WatchableRegistry)
        assert isinstance(registry, Registrar)
        assert isinstance(connect("etcd://h/s?poll=0"), WatchableRegistry)

    def test_credentials_tell_keys_apart_and_show_nowhere(self):
        urls = [f"etcd://{user}h/s" for user in ("", "me:s3cr3t@", "me:0ther@", "you:s3cr3t@")]
        made = [connect(url) for url in urls]
        assert len({each.key for each in made}) == len(urls)
        assert {each.url for each in made} == {"etcd://h:2379/s"}
        assert not any("s3cr3t" in each.key for each in made)
        assert EtcdSettings.from_url("etcd://m%40e:p%3Aw@h").login == ("m@e", "p:w")

    def test_tls_is_asked_for_by_the_scheme(self):
        settings = EtcdSettings.from_url("etcd+https://h/s?verify=0")
        assert (settings.url, list(settings.bases)) == ("etcd+https://h:2379/s", ["https://h:2379"])
        assert settings.context().check_hostname is False
        assert EtcdSettings.from_url("etcd+https://h").context().check_hostname is True
        assert EtcdSettings.from_url("etcd://h").context() is False
        keys = {connect(f"etcd+https://h{options}").key for options in ("", "?verify=0")}
        assert len(keys) == 2
        assert connect("etcd+https://h?verify=0").key in keys

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("etcd://h?ca=ca.pem", r"ca= is for TLS; write etcd\+https://"),
            ("etcd://h?cert=a.pem&poll", r"cert= is for TLS; write etcd\+https://"),
            ("etcd+https://h?key=a.pem", "key= needs cert="),
            ("etcd+https://h?ca=/none.pem", "ca: no CA certificates can be read from /none.pem"),
            ("etcd://h?dc=east", "unknown option 'dc'; known are ca, cert, key, poll, resync"),
            ("etcd://h,:1", "is no host:port; write several as host1:2379"),
            ("etcd://", "is no host:port"),
            ("etcd://h:0", "is no host:port"),
            ("etcd://h/s#t", "and # as %23"),
            ("etcd://h?resync=soon", "resync='soon' is no duration"),
            ("etcd://h?resync=5s&poll", "resync is for watches"),
            ("etcd://h?resync=0", "resync_s is 0.0; it must be above 0"),
            ("etcd://h?timeout=0&poll", "timeout_s is 0.0; it must be above 0"),
        ],
    )
    def test_wrong_urls_are_refused(self, url, message):
        with pytest.raises(ConfigurationError, match=message):
            connect(url)

    def test_another_scheme_is_not_taken(self):
        with pytest.raises(ConfigurationError, match=r"write etcd://host:2379"):
            etcd_registry("http://h:2379")


class TestQuestions:
    def test_a_prefix_ends_before_its_last_byte_raised(self):
        assert keys_under("s/") == {"key": b64("s/"), "range_end": b64("s0")}
        assert keys_under("", only_keys=True) == {
            "key": b64("\0"),
            "range_end": b64("\0"),
            "keys_only": True,
        }

    def test_numbers_are_text_and_bytes_are_base64(self):
        assert watch_of("s/", revision=8)["create_request"]["start_revision"] == "8"
        assert put_of("k", b"v", 2**62) == {"key": "aw==", "value": "dg==", "lease": str(2**62)}
        assert key_named("ü") == {"key": "w7w="}

    @pytest.mark.parametrize(
        ("asked", "granted"), [(0.5, 1), (2, 2), (2.1, 3), (10, 10), (1e6, 1000000)]
    )
    def test_leases_have_whole_seconds(self, asked, granted):
        assert lease_ttl_s(asked) == granted


class TestValues:
    @pytest.mark.parametrize(
        "instance",
        [
            MINE,
            Instance(host="::1", port=8002, scheme="https", weight=0.25),
            Instance(
                id="a/b?%2F ü",
                host="h.example",
                port=1,
                weight=0,
                zone="east",
                metadata={"rack": "r7", "weight": "light", "metadata": "x"},
                status="draining",
            ),
        ],
    )
    def test_what_we_write_we_read(self, instance):
        key = key_of("s/", "orders", instance.id)
        read_back = read_value(key.rpartition("/")[2], value_of(instance))
        assert read_back == instance
        assert read_back.metadata == instance.metadata
        assert key.count("/") == 2

    def test_our_fields_are_text_which_go_can_compare(self):
        """As an object they would end Go's clients: "comparing uncomparable type"."""
        value = json.loads(value_of(MINE.with_(weight=3)))
        assert value == {"Op": 0, "Addr": "10.0.0.1:80", "Metadata": '{"id":"a","weight":3.0}'}

    @pytest.mark.parametrize(
        "value",
        [
            '{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}',
            '{"Addr":"10.0.0.1:80"}',
            '{"op":0,"addr":"10.0.0.1:80","metadata":{}}',
            '{"ADDR":"10.0.0.1:80","Metadata":"","Attributes":{"x":1}}',
        ],
    )
    def test_what_others_write(self, value):
        assert read_value("a", value.encode()) == MINE

    @pytest.mark.parametrize(
        ("metadata", "fields", "others"),
        [
            ({"weight": 5, "zone": "east"}, {"weight": 5, "zone": "east"}, {}),
            ({"priority": 2}, {"priority": 2}, {}),
            ({"priority": 500, "weight": 5}, {"weight": 5}, {"priority": "500"}),
            ({"weight": "2.5", "status": "DOWN"}, {"weight": 2.5, "status": "critical"}, {}),
            ({"id": 17, "version": "1.2"}, {"id": "17"}, {"version": "1.2"}),
            ({"deep": {"a": [1]}, "n": 3}, {}, {"deep": '{"a": [1]}', "n": "3"}),
            # What others mean by our words need not fit, and costs nobody an instance.
            ({"status": "asleep", "weight": 5}, {"weight": 5}, {"status": "asleep"}),
            ({"weight": -1, "scheme": "grpc"}, {}, {"weight": "-1", "scheme": "grpc"}),
            (
                {"weight": [], "zone": 3, "scheme": []},
                {},
                {"weight": "[]", "zone": "3", "scheme": "[]"},
            ),
            ({"metadata": {"rack": "r7"}}, {}, {"rack": "r7"}),
            ({"metadata": "plain"}, {}, {"metadata": "plain"}),
            ("free text", {}, {"metadata": "free text"}),
            ('{"weight": 4}', {"weight": 4}, {}),
            ("[1]", {}, {"metadata": "[1]"}),
            ([1], {}, {"metadata": "[1]"}),
            (7, {}, {"metadata": "7"}),
        ],
    )
    def test_metadata_of_others(self, metadata, fields, others):
        value = json.dumps({"Addr": "10.0.0.1:80", "Metadata": metadata}).encode()
        found = read_value("a", value)
        assert found == MINE.with_(**fields, metadata=others)
        assert dict(found.metadata) == others

    def test_an_address_may_name_its_scheme(self):
        assert read_value("a", b'{"Addr":"https://h:443"}').scheme == "https"

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            ("", "the answer cannot be read"),
            ('{"Addr":', "the answer cannot be read"),
            ("[]", "Expected `object`"),
            ("null", "Expected `object`"),
            ("{}", "the value has no Addr"),
            ('{"Addr":""}', "the value has no Addr"),
            ('{"Addr":7}', "7 is not 'host:port'"),
            ('{"Addr":"h"}', "'h' is not 'host:port'"),
            ('{"Addr":"h:99999"}', "Port out of range"),
            ('{"Addr":"unix:///run/x.sock"}', "is not 'host:port'"),
            ('{"Addr":"grpc://h:1"}', "scheme is 'grpc'"),
            ('{"Addr":"h:1","n":1e999}', "the answer cannot be read"),
            ('{"Addr":"h:1","Metadata":' + "[" * 100_000 + "]" * 100_000 + "}", "cannot be read"),
        ],
    )
    def test_values_that_make_no_instance(self, value, error):
        with pytest.raises((InvalidInstanceError, RegistryAnswerError), match=error):
            read_value("a", value.encode())


class TestView:
    def test_the_list_is_kept_by_changes(self):
        subject = view(kv("s/orders/b", '{"Addr":"h:2"}'), kv("s/orders/a", '{"Addr":"h:1"}'))
        assert [each.id for each in subject.listing().instances] == ["a", "b"]
        before = subject.listing().version
        subject.apply(
            result(
                events=[
                    {"kv": kv("s/orders/b", '{"Addr":"h:22"}', mod_revision="8")},
                    {"kv": kv("s/orders/c", '{"Addr":"h:3"}'), "type": "PUT"},
                    {"kv": {"key": b64("s/orders/a"), "mod_revision": "8"}, "type": "DELETE"},
                    {"kv": {"key": b64("s/orders/never-seen")}, "type": "DELETE"},
                ]
            )
        )
        listing = subject.listing()
        assert [(each.id, each.port) for each in listing.instances] == [("b", 22), ("c", 3)]
        assert listing.version != before
        assert subject.listing().version == listing.version

    def test_equal_versions_are_equal_lists_however_they_came_about(self):
        def put(name, revision):
            return kv(f"s/orders/{name}", '{"Addr":"h:1"}', mod_revision=str(revision))

        kept = view(put("a", 5), put("b", 6), put("c", 7))
        versions = [kept.listing().version]
        for event in (
            {"kv": put("b", 8)},
            {"kv": {"key": b64("s/orders/c")}, "type": "DELETE"},
            {"kv": {"key": b64("s/orders/a")}, "type": "DELETE"},
        ):
            kept.apply(result(events=[event]))
            versions.append(kept.listing().version)
        assert len(set(versions)) == 4
        assert view(put("b", 8)).listing().version == versions[-1]

    def test_a_reset_is_told_of_the_list_and_not_of_its_changes(self):
        subject = view(kv("s/orders/a", '{"Addr":"h:1"}'), reset=True)
        assert subject.listing().reset
        subject.apply(result(events=[{"kv": kv("s/orders/b", '{"Addr":"h:2"}')}]))
        assert not subject.listing().reset

    def test_deeper_keys_belong_to_other_services(self):
        subject = view(
            kv("s/orders/a", '{"Addr":"h:1"}'),
            kv("s/orders/v2/b", '{"Addr":"h:2"}'),
            kv("s/orders/"),
        )
        subject.apply(result(events=[{"kv": kv("s/orders/v2/c", '{"Addr":"h:3"}')}]))
        listing = subject.listing()
        assert [each.id for each in listing.instances] == ["a"]
        assert not listing.skipped

    def test_one_bad_instance_is_skipped_and_named(self):
        subject = view(
            kv("s/orders/a", '{"Addr":"h:1"}'),
            kv("s/orders/bad", "garbage"),
            {"key": "!!!", "value": ""},
            {"key": 7},
            {"key": base64.b64encode(b"s/orders/\xff").decode(), "value": "e30="},
            kv("s/orders/z", '{"Addr":"h:1","Metadata":{"id":"a"}}'),
        )
        listing = subject.listing()
        assert [each.id for each in listing.instances] == ["a"]
        assert len(listing.skipped) == 5
        said = "\n".join(listing.skipped)
        assert "here: entry" in said
        assert "key 's/orders/bad': value: the answer cannot be read" in said
        assert "key 's/orders/\\\\xff'" in said
        assert "a second instance 'a'" in said

    def test_a_bad_instance_that_is_mended_or_deleted_is_no_longer_named(self):
        subject = view(kv("s/orders/a", '{"Addr":"h:1"}'), kv("s/orders/bad", "garbage"))
        assert subject.listing().skipped
        subject.apply(result(events=[{"kv": kv("s/orders/bad", '{"Addr":"h:2"}')}]))
        assert not subject.listing().skipped
        subject.apply(result(events=[{"kv": kv("s/orders/bad", "garbage")}]))
        assert subject.listing().skipped
        subject.apply(result(events=[{"kv": {"key": b64("s/orders/bad")}, "type": "DELETE"}]))
        assert not subject.listing().skipped

    def test_only_bad_instances_are_no_empty_list(self):
        with pytest.raises(RegistryAnswerError, match="and no other entry can be read"):
            view(kv("s/orders/bad", "garbage")).listing()
        assert view().listing().instances == ()

    def test_services_are_what_stands_before_the_last_slash(self):
        keys = ("s/orders/a", "s/orders/b", "s/a/b/c", "s/stray", "s/ü/x")
        assert services_of("s/", range_answer(*map(kv, keys))) == ["a/b", "orders", "ü"]
        assert services_of("", range_answer(kv("top"), kv("orders/a"))) == ["orders"]
        with pytest.raises(RegistryAnswerError):
            services_of("s/", range_answer({"key": "!"}))

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"null", b"[]", b"{}", b'{"header":{"revision":"-"}}', b'{"header":7}', b"<p>"],
    )
    def test_what_is_no_answer(self, body):
        with pytest.raises(RegistryAnswerError, match="here: the answer cannot be read"):
            read("here", body, RangeAnswer)


def unary_34(code, message):
    return {"error": message, "message": message, "code": code}


def unary_35(code, message):
    return {"code": code, "message": message, "details": []}


def stream_34(code, message):
    return {"error": {"grpc_code": code, "http_code": 503, "message": message}}


def stream_35(code, message):
    return {"error": {"code": code, "message": message, "details": []}}


class TestRefusals:
    @pytest.mark.parametrize("shape", [unary_34, unary_35, stream_34, stream_35])
    @pytest.mark.parametrize(
        ("status", "code", "message", "error"),
        [
            (503, 14, "etcdserver: leader changed", RegistryUnavailableError),
            (503, 14, "etcdserver: no leader", RegistryUnavailableError),
            (504, 4, "context deadline exceeded", RegistryUnavailableError),
            (429, 8, "etcdserver: too many requests", RegistryUnavailableError),
            (500, 2, "unexpected EOF", RegistryUnavailableError),
            (500, 13, "stream terminated", RegistryUnavailableError),
            (500, 15, "etcdserver: corrupt cluster", RegistryUnavailableError),
            (401, 16, "etcdserver: invalid auth token", RegistryDeniedError),
            (403, 7, "etcdserver: permission denied", RegistryDeniedError),
            (400, 3, "etcdserver: user name is empty", RegistryDeniedError),
            (400, 3, "etcdserver: revision of auth store is old", RegistryDeniedError),
            (400, 3, "etcdserver: authentication failed, invalid user", RegistryDeniedError),
            (400, 3, "etcdserver: key is not provided", RegistryRequestError),
            (404, 5, "etcdserver: requested lease not found", NotRegisteredError),
            (404, 5, "Not Found", RegistryRequestError),
            (400, 11, "mvcc: required revision has been compacted", RegistryCursorLostError),
            (400, 11, "etcdserver: too large lease TTL", RegistryRequestError),
            (501, 12, "unknown method", RegistryRequestError),
        ],
    )
    def test_code_and_message_decide_in_every_shape(self, shape, status, code, message, error):
        body = json.dumps(shape(code, message)).encode()
        found = refused("here", Answer(status, httpx.Headers(), body))
        assert type(found) is error
        assert f"here: {message} (code {code})" in str(found)

    @pytest.mark.parametrize(
        ("status", "body", "error", "said"),
        [
            (502, b"<html>bad gateway</html>", RegistryUnavailableError, "HTTP 502"),
            (404, b"404 page not found", RegistryRequestError, "is it etcd 3.4 or newer"),
            (400, b"Client sent an HTTP request", RegistryRequestError, "HTTP request"),
            (403, b"", RegistryDeniedError, "HTTP 403"),
            (503, b"[1]", RegistryUnavailableError, "HTTP 503"),
            (503, b'{"code":"14","message":7}', RegistryUnavailableError, "HTTP 503"),
            (503, b'{"error":{"code":true}}', RegistryUnavailableError, "HTTP 503"),
        ],
    )
    def test_others_than_etcd_may_refuse(self, status, body, error, said):
        found = refused("here", Answer(status, httpx.Headers(), body))
        assert type(found) is error
        assert said in str(found)

    @pytest.mark.parametrize(
        ("compacted", "reason", "error", "said"),
        [
            (40, "", RegistryCursorLostError, "before revision 40 is compacted"),
            (0, "mvcc: watcher range is empty", RegistryCursorLostError, "range is empty"),
            (0, "", RegistryCursorLostError, "no reason given"),
            (0, "desc = etcdserver: invalid auth token", RegistryCursorLostError, "token"),
            (0, "etcdserver: permission denied", RegistryDeniedError, "check the rights"),
        ],
    )
    def test_a_cancelled_watch(self, compacted, reason, error, said):
        found = canceled("here", compacted, reason)
        assert type(found) is error
        assert said in str(found)

    def test_long_words_are_cut(self):
        body = json.dumps(unary_35(14, "x" * 10000)).encode()
        assert len(str(refused("here", Answer(503, httpx.Headers(), body)))) < 300
