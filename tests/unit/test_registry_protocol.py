"""Registries made of parts: their abilities, their keys, and their hidden secrets."""

from __future__ import annotations

import dataclasses
from importlib import import_module

import pytest

from trimtab.registries import Registrar, Registry, WatchableRegistry, connect
from trimtab.registries.protocol import CheckingRegistrar, ComposedRegistry
from trimtab.registries.urls import Settings, Tls

SECRET = "hunter2"
URLS = [
    f"consul://h1,h2/?token={SECRET}",
    f"etcd://me:{SECRET}@h1,[::1]:2/prefix",
    f"zk://me:{SECRET}@h1,h2,[::1]:2/services",
    f"eureka://me:{SECRET}@h1,h2",
    f"nacos://me:{SECRET}@h1,h2",
    f"kubernetes://h/shop?token={SECRET}&verify=0",
    f"https://me:{SECRET}@h/{{service}}?api_key={SECRET}#token={SECRET}",
    "file:///etc/services.json",
]


class Part:
    """Does all that any part can do."""

    async def fetch(self, service): ...
    async def services(self): ...
    async def aclose(self): ...
    def watch(self, service): ...
    async def register(self, service, instance, *, ttl_s): ...
    async def heartbeat(self, service, instance): ...
    async def deregister(self, service, instance): ...


class CheckingPart(Part):
    def can_check(self, check): ...


@pytest.mark.parametrize(
    ("parts", "protocols"),
    [
        ({}, {Registry}),
        ({"watch": Part()}, {Registry, WatchableRegistry}),
        ({"writer": Part()}, {Registry, Registrar}),
        ({"writer": CheckingPart()}, {Registry, Registrar, CheckingRegistrar}),
        ({"watch": Part(), "writer": Part()}, {Registry, WatchableRegistry, Registrar}),
    ],
)
def test_a_registry_can_do_what_its_parts_can(parts, protocols):
    registry = ComposedRegistry(Settings(url="x://h"), Part(), **parts)
    every = {Registry, WatchableRegistry, Registrar, CheckingRegistrar}
    assert {each for each in every if isinstance(registry, each)} == protocols


@pytest.mark.parametrize("url", URLS)
def test_settings_are_frozen_and_hide_their_secrets(url):
    registry = connect(url)
    settings = registry.settings
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.url = "x://h"
    shown = f"{settings!r} {settings} {registry!r} {registry.url} {registry.key}"
    assert SECRET not in shown


@pytest.mark.parametrize("url", URLS)
def test_the_key_follows_every_setting(url):
    settings = connect(url).settings
    assert settings.key == connect(url).key == connect(url).settings.key
    assert dataclasses.replace(settings, url="x://other").key != settings.key or "https" in url
    if SECRET in url:
        assert connect(url.replace(SECRET, "hunter3")).key != settings.key


@pytest.mark.parametrize("tls", [Tls(ca="a"), Tls(cert="a"), Tls(cert="a", key="b"), Tls(verify=0)])
def test_tls_files_are_part_of_the_key(tls):
    kind = import_module("trimtab.registries.etcd").EtcdSettings
    settings = kind.from_url("etcd+https://h")
    assert dataclasses.replace(settings, tls=tls).key != settings.key


def test_whole_numbers_and_fractions_of_one_value_are_one_setting():
    settings = connect("etcd://h").settings
    one, same = (dataclasses.replace(settings, timeout_s=each) for each in (5, 5.0))
    assert one.key == same.key
