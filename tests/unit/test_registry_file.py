from __future__ import annotations

import asyncio
import builtins
import json
from importlib.util import find_spec

import pytest

from trimtab.errors import (
    ConfigurationError,
    RegistryAnswerError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance
from trimtab.registries import Registry, WatchableRegistry, connect
from trimtab.registries import file as module
from trimtab.registries.file import FileSettings, make

ORDERS = (
    Instance(host="h1", port=80),
    Instance(host="h2", port=80, weight=2, zone="a", priority=1),
)
TEXTS = {
    "json": '{"orders": ["h1:80", {"host": "h2", "port": 80, "weight": 2, "zone": "a", '
    '"priority": 1}]}',
    "toml": 'orders = ["h1:80", {host = "h2", port = 80, weight = 2, zone = "a", priority = 1}]',
    "yaml": "orders:\n- h1:80\n- {host: h2, port: 80, weight: 2, zone: a, priority: 1}\n",
    "yml": "orders: ['h1:80', {host: h2, port: 80, weight: 2, zone: a, priority: 1}]",
}


def fetched(path, service="orders"):
    return asyncio.run(make(FileSettings.of(path, poll=True)).fetch(service))


@pytest.mark.parametrize("ending", TEXTS)
def test_each_format_is_read(tmp_path, ending):
    path = tmp_path / f"services.{ending}"
    path.write_text(TEXTS[ending])
    assert fetched(path).instances == ORDERS


@pytest.mark.parametrize(
    ("ending", "text", "message"),
    [
        ("json", '{"orders": [\n"h1:8', "line 2 column 1"),
        ("json", "[1]", "must be a table from the names of services to lists"),
        ("json", '{"orders": "h1:80"}', "'orders' is str; it must be a list"),
        ("json", '{"orders": ["h1"]}', "'orders': entry 0 skipped: 'h1' is not 'host:port'"),
        ("json", "[" * 100_000, "rename it into place"),
        ("toml", "orders = [1 2]", "line 1, column"),
        ("yaml", "orders: [", "line 1, column"),
        ("yaml", "7: [x]", "must be a table"),
    ],
)
def test_what_cannot_be_read_names_file_place_and_remedy(tmp_path, ending, text, message):
    path = tmp_path / f"services.{ending}"
    path.write_text(text)
    with pytest.raises(RegistryAnswerError, match=message) as caught:
        fetched(path)
    assert str(path) in str(caught.value)


def test_text_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "services.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RegistryAnswerError, match="utf-8"):
        fetched(path)


def test_a_file_too_large_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "services.json"
    path.write_text(TEXTS["json"])
    monkeypatch.setattr(module, "_MAX_BYTES", 10)
    with pytest.raises(RegistryAnswerError, match="larger than 10 bytes"):
        fetched(path)


def test_a_missing_file_is_unavailable_and_a_missing_service_is_refused(tmp_path):
    path = tmp_path / "services.json"
    with pytest.raises(RegistryUnavailableError, match=r"services\.json: No such file"):
        fetched(path)
    path.write_text(TEXTS["json"])
    with pytest.raises(RegistryRequestError, match="no service 'order'; it names: orders"):
        fetched(path, "order")
    path.write_text("{}")
    with pytest.raises(RegistryRequestError, match="it names: no service at all"):
        fetched(path)


def test_from_url_chooses_what_can_be_watched(tmp_path, monkeypatch):
    url = (tmp_path / "my services.json").as_uri()
    assert isinstance(connect(url), WatchableRegistry)
    assert connect(url).url == url
    polled = connect(f"{url}?poll")
    assert isinstance(polled, Registry)
    assert not isinstance(polled, WatchableRegistry)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert not isinstance(connect(url), WatchableRegistry)
    with pytest.raises(ConfigurationError, match=r"pip install 'trimtab\[file\]'"):
        make(FileSettings.of(tmp_path / "services.json"))


def test_yaml_without_its_extra_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_yaml(name, *rest):
        if name == "yaml":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_yaml)
    with pytest.raises(ConfigurationError, match=r"YAML needs PyYAML: pip install"):
        make(FileSettings.of(tmp_path / "services.yaml", poll=True))


async def next_with(listings, ports, deadline_s=20):
    async with asyncio.timeout(deadline_s):
        async for listing in listings:
            if [instance.port for instance in listing.instances] == ports:
                return


def write(path, *ports):
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"orders": [f"h:{port}" for port in ports]}))
    draft.replace(path)


@pytest.mark.skipif(find_spec("watchfiles") is None, reason="an extra")
class TestWatching:
    @pytest.mark.anyio
    async def test_a_file_behind_links_is_watched_too(self, tmp_path):
        """As in a mounted config map: the name is a link, and what it leads through is swapped."""
        for number, port in ((1, 81), (2, 82)):
            (tmp_path / f"v{number}").mkdir()
            write(tmp_path / f"v{number}/services.json", port)
        (tmp_path / "data").symlink_to("v1")
        (tmp_path / "services.json").symlink_to("data/services.json")
        listings = make(FileSettings.of(tmp_path / "services.json")).watch("orders")
        await next_with(listings, [81])
        (tmp_path / "data.new").symlink_to("v2")
        (tmp_path / "data.new").replace(tmp_path / "data")
        await next_with(listings, [82])
        await listings.aclose()

    @pytest.mark.anyio
    async def test_a_torn_file_is_told_and_a_new_watch_goes_on(self, tmp_path):
        path = tmp_path / "services.json"
        write(path, 81)
        registry = make(FileSettings.of(path))
        listings = registry.watch("orders")
        await next_with(listings, [81])
        path.write_text('{"orders": ["h:8')
        with pytest.raises(RegistryAnswerError):
            await next_with(listings, [82])
        write(path, 82)
        listings = registry.watch("orders")
        await next_with(listings, [82])
        await listings.aclose()

    @pytest.mark.anyio
    async def test_looking_again_says_that_the_list_is_fresh(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "_LOOK_AGAIN_MS", 100)
        path = tmp_path / "services.json"
        write(path, 81)
        listings = make(FileSettings.of(path)).watch("orders")
        await next_with(listings, [81])
        await next_with(listings, [81])
        path.unlink()
        with pytest.raises(RegistryUnavailableError):
            await next_with(listings, [])


def test_names_that_differ_by_case_only_are_refused(tmp_path):
    path = tmp_path / "services.json"
    path.write_text('{"billing": ["h:1"], "Billing": ["h:2"], "orders": ["h:3"]}')
    for name in ("billing", "Billing", "BILLING."):
        with pytest.raises(RegistryRequestError, match="'Billing', 'billing' differ by case only"):
            fetched(path, name)
    assert len(fetched(path).instances) == 1


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        ("json", '{"orders": ["10.0.0.1:80"]}'),
        ("toml", 'orders = ["10.0.0.1:80"]'),
        ("yaml", "orders: ['10.0.0.1:80']"),
    ],
)
def test_a_byte_order_mark_is_read_over(tmp_path, ending, text):
    path = tmp_path / f"services.{ending}"
    path.write_text(text, encoding="utf-8-sig")
    assert [each.address for each in fetched(path).instances] == ["10.0.0.1:80"]
