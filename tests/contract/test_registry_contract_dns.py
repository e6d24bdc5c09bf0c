"""The contract over DNS, by a real Knot whose zone the tests change while it runs."""

from __future__ import annotations

import asyncio
from functools import partial
from ipaddress import ip_address
from unittest import SkipTest

import pytest

from real.dns import ZONE
from registry_kit import completed
from trimtab.registries import connect
from trimtab.testing import RegistryContract, RegistryHarness

pytestmark = pytest.mark.real
_ADDRESS_OF_NAMES = "10.0.0.77"
"""Where the names lie that the contract uses for hosts."""


def address_of(instance):
    try:
        return str(ip_address(instance.host))
    except ValueError:
        return _ADDRESS_OF_NAMES


def kind_of(address):
    return "AAAA" if ":" in address else "A"


class SrvHarness(RegistryHarness):
    # Over UDP a dead server is silence, which lasts so long three times; a busy one is slow.
    options = "min_interval=20ms&timeout=4s"

    def __init__(self, knot):
        self.knot = knot
        self.published = {}

    @property
    def registry_url(self):
        return f"dns+srv://127.0.0.1:{self.knot.port}/{ZONE}?{self.options}"

    def connect(self, secret=None):
        if secret:
            raise SkipTest("DNS has no secrets")
        return completed(connect(self.registry_url), self.complete)

    async def stop(self):
        if self.knot.process.poll() is not None:
            self.knot.start()
        for service in ("orders", "billing"):
            await self.publish(service, [])

    async def publish(self, service, instances, *more):
        instances = list(instances)
        for each in instances:
            self.published[address_of(each), self.port_of(each)] = each
        changes = self.changes(service, instances, *more)
        await asyncio.to_thread(self.knot.change, *changes)

    def port_of(self, instance):
        return instance.port

    def changes(self, service, instances, *more):
        name = f"_{service}._tcp"
        for each in instances:
            address = address_of(each)
            yield f"host-{each.id}", kind_of(address), 0, address
        rdatas = [f"0 {each.weight:g} {each.port} host-{each.id}" for each in instances]
        rdatas += more
        yield (name, "SRV", 0, *rdatas) if rdatas else (name, "SRV")

    def complete(self, found):
        """DNS knows no ids, zones, schemes, metadata and health, and no names as hosts."""
        if (found.host, found.port) not in self.published:
            return found
        return self.published[found.host, found.port].with_(weight=found.weight)

    async def publish_with_bad_entry(self, service, instances):
        await self.publish(service, instances, "0 1 0 host-a")  # Nobody can call port 0.

    async def begin_outage(self):
        self.knot.kill()

    async def end_outage(self):
        self.knot.start()


class PolledTcpSrvHarness(SrvHarness):
    options = "poll&tcp&timeout=10s"


class AddressHarness(SrvHarness):
    """All instances have one port, and weights are not known to DNS either."""

    options = "min_interval=20ms&timeout=10s"

    @property
    def registry_url(self):
        return f"dns+a://127.0.0.1:{self.knot.port}/{ZONE}?port=80&tcp&{self.options}"

    def port_of(self, instance):
        return 80

    def changes(self, service, instances, *more):
        addresses = [address_of(each) for each in instances]
        for kind in ("A", "AAAA"):
            found = [address for address in addresses if kind_of(address) == kind]
            yield (service, kind, 0, *found) if found else (service, kind)

    def complete(self, found):
        return self.published.get((found.host, found.port), found)

    async def publish_with_bad_entry(self, service, instances):
        raise SkipTest("every address makes an instance")


class DnsContract(RegistryContract):
    """What DNS has no words for is left out; see tests/integration/test_dns_registry.py."""

    def test_every_field_of_an_instance_is_kept(self):
        pytest.skip("DNS knows neither zones, schemes, metadata nor health")

    def test_the_services_are_named_in_order(self):
        pytest.skip("DNS cannot name the services in a domain")


class TestDnsSrv(DnsContract):
    @pytest.fixture(autouse=True)
    def subject(self, knot):
        self.harness = partial(SrvHarness, knot)


class TestPolledDnsSrvOverTcp(DnsContract):
    @pytest.fixture(autouse=True)
    def subject(self, knot):
        self.harness = partial(PolledTcpSrvHarness, knot)


class TestDnsA(DnsContract):
    @pytest.fixture(autouse=True)
    def subject(self, knot):
        self.harness = partial(AddressHarness, knot)
