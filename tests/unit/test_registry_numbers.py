"""Numbers of any size cost the entry that has them, on every adapter and in every format."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from trimtab.registries.consul.entries import read_health
from trimtab.registries.etcd.entries import View as EtcdView
from trimtab.registries.etcd.wire import Header, KeyValue, RangeAnswer
from trimtab.registries.eureka.entries import read_application
from trimtab.registries.file import FileSettings, make
from trimtab.registries.kubernetes.slices import View as SlicesView
from trimtab.registries.nacos.api import read_hosts
from trimtab.registries.zookeeper.layouts import CuratorLayout, DubboLayout

NUMBERS = ["9" * 4300, "9" * 5000, "9" * 100_000, "9" * 25, "1e999", "-" + "9" * 5000]


def consul(number):
    one, two = (f'{{"Service": {{"Port": {n}, "Address": "h"}}}}' for n in (number, 80))
    return read_health("here", f"[{one}, {two}]".encode())


def nacos(number):
    one, two = (f'{{"ip": "h", "port": {n}}}' for n in (number, 80))
    return read_hosts("here", msgspec.Raw(f"[{one}, {two}]".encode()))


def eureka(number):
    entries = (f'{{"hostName": "h", "port": {{"$": {n}}}}}' for n in (number, f'"{number}"', 80))
    body = f'{{"application": {{"instance": [{", ".join(entries)}]}}}}'
    return read_application("here", body.encode(), prefer_ip=False)


def curator(number):
    nodes = {str(n): f'{{"address": "h", "port": {n}}}'.encode() for n in (number, 80)}
    return CuratorLayout("/services").read("here", "orders", nodes)


def dubbo(number):
    nodes = {f"http%3A%2F%2Fh%3A{n}%2Fx": b"" for n in (number, 80)}
    return DubboLayout("/dubbo").read("here", "x", nodes)


def etcd(number):
    values = [f'{{"Addr": "h:{number}"}}', f'{{"Addr": {number}}}', '{"Addr": "h:80"}']
    kvs = [
        msgspec.Raw(msgspec.json.encode(KeyValue(key=f"s/orders/{at}".encode(), value=v.encode())))
        for at, v in enumerate(values)
    ]
    listing = EtcdView(
        "here", "s/orders/", RangeAnswer(header=Header(), kvs=kvs), reset=False
    ).listing()
    return listing.instances, listing.skipped


def kubernetes(number):
    view = SlicesView("here", None)
    for name, port in (("a", number), ("b", 80)):
        endpoints = f'"endpoints": [{{"addresses": ["h-{name}"]}}]'
        head = f'"metadata": {{"name": "{name}"}}, "addressType": "FQDN"'
        view.put(
            msgspec.Raw(f'{{{head}, "ports": [{{"port": {port}}}], {endpoints}}}'.encode()), name
        )
    listing = view.listing()
    return listing.instances, listing.skipped


READERS = [consul, nacos, eureka, curator, dubbo, etcd, kubernetes]


@pytest.mark.parametrize("number", NUMBERS, ids=range(len(NUMBERS)))
@pytest.mark.parametrize("reader", READERS)
def test_a_port_of_any_size_costs_its_entry_alone(reader, number):
    instances, skipped = reader(number)
    assert [each.port for each in instances] == [80]
    assert skipped
    assert all(len(message) < 600 for message in skipped)


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        ("json", '{{"orders": ["h:80", {{"host": "h", "port": {}}}]}}'),
        ("json", '{{"orders": ["h:80", {{"host": "h", "port": "{}"}}]}}'),
        ("yaml", "orders: ['h:80', {{host: h, port: {}}}]"),
    ],
)
@pytest.mark.parametrize("number", NUMBERS, ids=range(len(NUMBERS)))
def test_a_port_of_any_size_costs_its_entry_alone_in_a_file(tmp_path, ending, text, number):
    path = tmp_path / f"services.{ending}"
    path.write_text(text.format(number))
    listing = asyncio.run(make(FileSettings.of(path, poll=True)).fetch("orders"))
    assert [each.port for each in listing.instances] == [80]
    assert len(listing.skipped) == 1
