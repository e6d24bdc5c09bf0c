"""The DNS adapter without a network: URLs, weights and tiers, TTLs, addresses that fail."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from functools import partial
from random import Random

import dns.rdata
import dns.resolver
import dns.rrset
import pytest

from registry_kit import reader_of
from trimtab.errors import (
    ConfigurationError,
    RegistryAnswerError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries import WatchableRegistry, connect
from trimtab.registries.dns import nameservers as nameservers_module
from trimtab.registries.dns.nameservers import Asked, Nameservers, absolute
from trimtab.registries.dns.reader import DnsReader, DnsSettings, DnsWatch
from trimtab.registries.dns.records import (
    AddressRecords,
    Offer,
    Reading,
    SrvRecords,
    offered,
    read_offers,
)
from trimtab_sim.loop import run

BOTH = ("A", "AAAA")
KINDS = [dns.rdatatype.A, dns.rdatatype.AAAA]


class Said:
    """Nameservers that say what the test has written down, as a zone file would."""

    def __init__(self, **zone):
        self.zone, self.asked = zone, []

    async def ask(self, name, kind):
        self.asked.append((name.to_text(), kind.name))
        said = self.zone.get(f"{name.to_text()[:-1].replace('.', '_')}__{kind.name}", 9)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, int):
            return Asked((), said)
        ttl, *texts = said
        additional = tuple(dns.rrset.from_text(*text) for text in texts if isinstance(text, tuple))
        records = [text for text in texts if isinstance(text, str)]
        return Asked(
            tuple(dns.rdata.from_text("IN", kind, text) for text in records), ttl, additional
        )

    def srv(self, **settings):
        return SrvRecords(self, KINDS, **{"all_priorities": False, **settings})

    def read(self, name="orders", **settings):
        return asyncio.run(self.srv(**settings).read("here", name))


def weights(*offers):
    there = offered(
        (Offer(priority, f"h{number}.", 80, weight) for number, (priority, weight) in offers),
        all_priorities=True,
    )
    found, _ = read_offers("here", there, {offer.target: (offer.target,) for offer in there})
    return {each.metadata["target"]: each.weight for each in found}


class TestWeightsAndPriorities:
    def test_weights_are_taken_as_they_are(self):
        assert weights((1, (0, 10)), (2, (0, 30))) == {"h1": 10, "h2": 30}

    def test_where_all_are_zero_all_are_equal(self):
        assert weights((1, (0, 0)), (2, (0, 0)), (3, (5, 2))) == {"h1": 1, "h2": 1, "h3": 2}

    def test_a_zero_beside_others_has_a_very_small_chance(self):
        assert weights((1, (0, 0)), (2, (0, 4)), (3, (0, 8))) == {"h1": 0.04, "h2": 4, "h3": 8}

    def test_zeros_are_judged_within_their_priority(self):
        found = weights((1, (0, 0)), (2, (0, 400)), (3, (1, 0)), (4, (1, 2)))
        assert found == {"h1": 4, "h2": 400, "h3": 0.02, "h4": 2}

    def test_the_lowest_priority_number_alone_is_listed(self):
        said = Said(orders__SRV=(60, "20 1 82 b.", "10 1 81 a."), a__A=(60, "10.0.0.1"))
        (found,) = said.read().instances
        assert (found.id, dict(found.metadata)) == (
            "10.0.0.1:81",
            {"priority": "10", "target": "a"},
        )
        assert ("b.", "A") not in said.asked

    def test_the_numbers_that_are_there_become_tiers_in_their_order(self):
        said = Said(
            orders__SRV=(60, "30 1 83 a.", "20 1 82 b.", "10 1 81 a.", "20 1 84 a."),
            a__A=(60, "10.0.0.1"),
            b__A=(60, "10.0.0.2"),
        )
        found = said.read(all_priorities=True).instances
        assert [(each.port, each.priority, each.metadata["priority"]) for each in found] == [
            (81, 0, "10"), (84, 1, "20"), (82, 1, "20"), (83, 2, "30"),
        ]  # fmt: skip

    def test_all_priorities_are_listed_by_default(self):
        assert DnsSettings.from_url("dns+srv://h/d").all_priorities
        assert not DnsSettings.from_url("dns+srv://h/d?priority=lowest").all_priorities

    def test_more_numbers_than_there_are_tiers_share_the_last_one(self):
        offers = [Offer(2 * n, "h.", 1 + n, 1) for n in range(200)]
        found, _ = read_offers("here", offers, {"h.": ("10.0.0.1",)})
        assert [each.priority for each in found] == [*range(128), *[127] * 72]

    def test_a_dot_says_that_the_service_is_not_offered(self):
        reading = Said(orders__SRV=(60, "0 0 0 .")).read()
        assert (reading.instances, reading.skipped, reading.ttl_s) == ((), (), 60)

    def test_the_order_and_case_of_the_answer_do_not_matter(self):
        one = Said(orders__SRV=(60, "0 1 1 a.", "0 1 2 b."), a__A=(60, "::"), b__A=(60, "::"))
        one.zone |= {"a__A": (60, "10.0.0.1"), "b__A": (60, "10.0.0.2")}
        other = Said(**one.zone | {"orders__SRV": (60, "0 1 2 B.", "0 1 1 A.")})
        assert one.read() == other.read()


class TestAddresses:
    def test_several_share_the_weight_of_their_target(self):
        said = Said(
            orders__SRV=(60, "0 6 80 a."), a__A=(60, "10.0.0.2", "10.0.0.1"), a__AAAA=(60, "::1")
        )
        found = said.read().instances
        assert [(each.id, each.weight) for each in found] == [
            ("10.0.0.1:80", 2),
            ("10.0.0.2:80", 2),
            ("[::1]:80", 2),
        ]

    def test_those_that_came_along_are_not_asked_for(self):
        along = [("A.", 20, "IN", "A", "10.0.0.1"), ("a.", 10, "IN", "AAAA", "::1")]
        said = Said(
            orders__SRV=(60, "0 1 80 a.", "0 1 80 b.", *along), b__A=(30, "10.0.0.2"), b__AAAA=5
        )
        reading = said.read()
        assert [each.host for each in reading.instances] == ["10.0.0.1", "::1", "10.0.0.2"]
        assert said.asked[1:] == [("b.", "A"), ("b.", "AAAA")]
        assert reading.ttl_s == 10

    def test_the_shortest_time_that_matters_counts(self):
        said = Said(orders__SRV=(60, "0 1 80 a."), a__A=(30, "10.0.0.1"), a__AAAA=2)
        assert said.read().ttl_s == 30
        said.zone["a__A"] = (90, "10.0.0.1")
        assert said.read().ttl_s == 60
        assert Said(orders__SRV=7).read() == Reading((), (), 7)

    def test_a_target_without_one_is_left_out_and_named(self):
        said = Said(orders__SRV=(60, "0 1 80 a.", "0 1 80 b."), a__A=(60, "10.0.0.1"))
        reading = said.read()
        assert [each.host for each in reading.instances] == ["10.0.0.1"]
        assert reading.skipped == ("here: entry 1 skipped: target b has no address",)
        assert reading.ttl_s == 9

    def test_a_port_of_zero_is_left_out_and_named(self):
        said = Said(orders__SRV=(60, "0 1 0 a.", "0 1 80 a."), a__A=(60, "10.0.0.1"))
        reading = said.read()
        assert [each.port for each in reading.instances] == [80]
        assert "target a: instance at host '10.0.0.1', port 0" in reading.skipped[0]

    def test_not_one_readable_record_is_no_answer(self):
        with pytest.raises(RegistryAnswerError, match="target a has no address"):
            Said(orders__SRV=(60, "0 1 80 a.")).read()

    def test_a_target_that_cannot_be_resolved_keeps_its_addresses(self):
        gone = RegistryUnavailableError("SERVFAIL")
        said = Said(
            orders__SRV=(60, "0 1 80 a.", "0 1 80 b."),
            a__A=(60, "10.0.0.1"),
            b__A=(60, "10.0.0.2"),
        )
        records = said.srv()
        before = asyncio.run(records.read("here", "orders"))
        said.zone["b__A"] = gone
        for _ in range(2):
            after = asyncio.run(records.read("here", "orders"))
            assert (after.instances, after.ttl_s) == (before.instances, 5)
        fresh = said.read()
        assert [each.host for each in fresh.instances] == ["10.0.0.1"]
        assert "target b has no address" in fresh.skipped[0]

    def test_a_target_without_addresses_loses_its_old_ones(self):
        said = Said(
            orders__SRV=(60, "0 1 80 a.", "0 1 80 b."),
            a__A=(60, "10.0.0.1"),
            b__A=(60, "10.0.0.2"),
        )
        records = said.srv()
        asyncio.run(records.read("here", "orders"))
        for says in (9, RegistryUnavailableError("SERVFAIL")):
            said.zone["b__A"] = says
            found = asyncio.run(records.read("here", "orders")).instances
            assert [each.host for each in found] == ["10.0.0.1"]

    def test_targets_that_cannot_be_resolved_are_unavailable(self):
        said = Said(
            orders__SRV=(60, "0 1 80 a.", "0 1 80 b."), b__A=RegistryUnavailableError("SERVFAIL")
        )
        with pytest.raises(RegistryUnavailableError, match="SERVFAIL"):
            said.read()

    def test_a_bug_is_not_taken_for_trouble(self):
        with pytest.raises(ZeroDivisionError):
            Said(orders__SRV=(60, "0 1 80 a."), a__A=ZeroDivisionError()).read()

    def test_plain_addresses_have_the_one_port(self):
        said = Said(orders__A=(60, "10.0.0.2", "10.0.0.1"), orders__AAAA=(50, "::1"))
        reading = asyncio.run(AddressRecords(said, KINDS, port=80).read("here", "orders"))
        assert [each.id for each in reading.instances] == ["10.0.0.1:80", "10.0.0.2:80", "[::1]:80"]
        assert reading.ttl_s == 50

    def test_half_of_the_addresses_are_no_answer(self):
        said = Said(orders__A=(60, "10.0.0.2"), orders__AAAA=RegistryUnavailableError("SERVFAIL"))
        with pytest.raises(RegistryUnavailableError):
            asyncio.run(AddressRecords(said, KINDS, port=80).read("here", "orders"))
        only = AddressRecords(said, KINDS[:1], port=80)
        assert len(asyncio.run(only.read("here", "orders")).instances) == 1


class Ticking:
    """Records whose TTLs the test says, and which note when they were asked for."""

    def __init__(self, *ttls_s, takes_s=0.0):
        self.ttls_s, self.takes_s = list(ttls_s), takes_s
        self.asked_at, self.names = [], []

    async def read(self, place, name):
        self.asked_at.append(asyncio.get_running_loop().time())
        self.names.append(name)
        await asyncio.sleep(self.takes_s)
        return Reading((), (), self.ttls_s.pop(0))


def watched(records, *, how_often, **settings):
    async def main():
        made = DnsSettings(url="dns", name="{service}", **settings)
        watch = DnsWatch(made, DnsReader(made, records))
        async with aclosing(watch.watch("orders")) as listings:
            for _ in range(how_often):
                await anext(listings)

    run(main())
    return records.asked_at


class TestIntervals:
    def test_the_ttl_is_obeyed(self):
        assert watched(Ticking(20, 5, 60, 1), how_often=4) == [0, 20, 25, 85]

    def test_between_two_bounds(self):
        assert watched(Ticking(0, 86400, 1), how_often=3) == [0, 1, 301]
        bounds = {"min_interval_s": 10, "max_interval_s": 20}
        assert watched(Ticking(0, 86400, 1), how_often=3, **bounds) == [0, 10, 30]

    def test_a_whole_reading_is_bounded(self):
        with pytest.raises(RegistryUnavailableError, match="'orders': no whole answer within 9 s"):
            watched(Ticking(1, takes_s=10), how_often=1)

    @pytest.mark.parametrize(("least", "most"), [(0, 5), (5, 4), (float("nan"), 4)])
    def test_wrong_bounds_are_refused(self, least, most):
        with pytest.raises(ConfigurationError, match="above 0 and in this order"):
            DnsSettings(url="dns", name="{service}", min_interval_s=least, max_interval_s=most)

    def test_a_wrong_timeout_is_refused(self):
        with pytest.raises(ConfigurationError, match="timeout_s is 0"):
            DnsSettings(url="dns", name="{service}", timeout_s=0)

    def test_without_ttls_it_is_polled(self):
        records = Ticking(20, 20)
        reader = DnsReader(DnsSettings(url="dns", name="_{service}._tcp.test"), records)
        assert not isinstance(reader, WatchableRegistry)
        assert asyncio.run(reader.fetch("orders")).instances == ()
        assert records.names == ["_orders._tcp.test"]


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("dns+srv://h/svc.test", "_{service}._tcp.svc.test"),
            ("dns+srv://h:5353,[::1]:54/svc.test/", "_{service}._tcp.svc.test"),
            ("dns+srv:///svc.test?tcp", "_{service}._tcp.svc.test"),
            ("dns+srv://h/service.consul?name={service}.{domain}", "{service}.service.consul"),
            ("dns+srv://h/?name=_{service}._udp.test", "_{service}._udp.test"),
            ("dns+a://h/svc.test?port=80", "{service}.svc.test"),
            ("dns+a:///?port=80&name={service}&family=6", "{service}"),
        ],
    )
    def test_names_are_made_of_a_template(self, url, name):
        registry = connect(url)
        assert isinstance(registry, WatchableRegistry)
        assert DnsSettings.from_url(url).name == name
        assert registry.url == url
        assert registry.key == connect(url).key

    def test_options(self):
        url = "dns+srv://h/d?min_interval=2s&max_interval=1m&timeout=500ms"
        registry, settings = connect(url), DnsSettings.from_url(url)
        assert (settings.min_interval_s, settings.max_interval_s) == (2, 60)
        assert reader_of(registry)._bound_s == 1.5
        polled = connect("dns+srv://h/d?poll")
        assert not isinstance(polled, WatchableRegistry)
        assert polled.key != registry.key

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("dns+srv://h", "no domain; write dns"),
            ("dns+a://h/?port=80", "no domain; write dns"),
            ("dns+srv://h/d?name=orders.test", "must hold {service}"),
            ("dns+srv://h/d?port=80", "unknown option 'port'"),
            ("dns+a://h/d?port=80&priority=all", "unknown option 'priority'"),
            ("dns+a://h/d", "port=''; addresses have no port"),
            ("dns+a://h/d?port=http", "port='http'"),
            ("dns+a://h/d?port=70000", "port='70000'"),
            ("dns+srv://h/d?priority=10", "must be all or lowest"),
            ("dns+srv://h/d?family=ipv4", "must be 4 or 6"),
            ("dns+srv://h:0/d", "no host:port"),
            ("dns+srv://me:hunter2@h/d", "no user and password"),
            ("dns+srv://h/d?timeout=0", "timeout_s is 0"),
        ],
    )
    def test_what_is_wrong_is_named(self, url, said):
        with pytest.raises(ConfigurationError, match=said) as caught:
            connect(url)
        assert "hunter2" not in str(caught.value)

    def test_services_cannot_be_named(self):
        registry = connect("dns+srv://h/d")
        with pytest.raises(RegistryRequestError, match="cannot name the services"):
            asyncio.run(registry.services())

    def test_without_dnspython_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "dns.asyncresolver", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'trimtab\[dns\]'"):
            connect("dns+srv://h/d")


class TestNames:
    def test_search_lists_have_no_say(self):
        assert absolute("here", "orders").to_text() == "orders."
        assert absolute("here", "orders.test.").to_text() == "orders.test."

    def test_letters_of_other_scripts(self):
        assert absolute("here", "bücher.test").to_text() == "xn--bcher-kva.test."

    @pytest.mark.parametrize("text", ["a..b", "x" * 64, "x." * 200, "a\\", "ü" * 80, "\ud800"])
    def test_what_makes_no_name_is_refused(self, text):
        with pytest.raises(RegistryRequestError, match="makes no DNS name"):
            absolute("here", text)


class TestNameservers:
    def test_the_system_names_the_nameservers(self, tmp_path, monkeypatch):
        file = tmp_path / "resolv.conf"
        make = partial(dns.asyncresolver.Resolver, filename=str(file))
        monkeypatch.setattr(nameservers_module, "Resolver", make)
        nameservers = Nameservers("here", [], tcp=False, timeout_s=1)
        file.write_text("nameserver 10.0.0.53\nsearch example.org\n")
        assert asyncio.run(nameservers._resolver()).nameservers == ["10.0.0.53"]
        file.write_text("nameserver 10.0.0.54\n")
        assert asyncio.run(nameservers._resolver()).nameservers == ["10.0.0.54"]
        file.unlink()
        with pytest.raises(RegistryUnavailableError, match="names no nameservers"):
            asyncio.run(nameservers._resolver())

    def test_each_client_begins_at_a_random_nameserver(self):
        hosts = [("10.0.0.1", 53), ("10.0.0.2", 54), ("10.0.0.3", 55)]
        begun = {
            Nameservers("here", hosts, tcp=False, timeout_s=1, rng=Random(seed))._hosts[0]
            for seed in range(20)
        }
        assert begun == set(hosts)

    def test_they_may_have_names(self):
        nameservers = Nameservers("here", [("localhost", 5353)], tcp=False, timeout_s=1)
        resolver = asyncio.run(nameservers._resolver())
        (found,) = resolver.nameservers
        assert found.address in {"127.0.0.1", "::1"}
        assert found.port == 5353

    def test_one_whose_name_is_unknown_is_passed_over(self):
        hosts = [("nowhere.invalid", 53), ("10.0.0.1", 53)]
        nameservers = Nameservers("here", hosts, tcp=False, timeout_s=1)
        resolver = asyncio.run(nameservers._resolver())
        assert [each.address for each in resolver.nameservers] == ["10.0.0.1"]
        lost = Nameservers("here", hosts[:1], tcp=False, timeout_s=1)
        with pytest.raises(RegistryUnavailableError, match=r"no nameserver: nowhere\.invalid: "):
            asyncio.run(lost._resolver())
