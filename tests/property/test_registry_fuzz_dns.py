"""Whatever DNS says: a list, with the unreadable named, or an error of ours."""

from __future__ import annotations

import asyncio

import dns.message
import dns.nameserver
import dns.rcode
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import RegistryAnswerError, RegistryError
from trimtab.registries.dns.nameservers import Nameservers
from trimtab.registries.dns.records import Offer, SrvRecords, offered, read_offers

NAME = "_orders._tcp.svc.test."
QUESTION = dns.message.make_query(NAME, "SRV")
KINDS = [dns.rdatatype.A, dns.rdatatype.AAAA]

numbers = st.integers(0, 65535)
targets = st.sampled_from([".", "a.", "b.svc.test.", "c c.", "\\000."])
offers = st.lists(st.builds(Offer, numbers, targets, numbers, numbers), max_size=8)
addresses = st.dictionaries(
    targets, st.lists(st.sampled_from(["10.0.0.1", "::1", "fe80::1"]), unique=True)
)


@given(offers, addresses, st.booleans())
def test_records(found, known, all_priorities):
    kept = offered(found, all_priorities=all_priorities)
    assert {offer.priority for offer in kept} <= {offer.priority for offer in found}
    try:
        instances, skipped = read_offers("here", kept, known)
    except RegistryAnswerError:
        return
    assert all(each.weight > 0 for each in instances)
    assert len({each.id for each in instances}) == len(instances)
    assert bool(kept) == bool(instances)
    assert len(instances) + len(skipped) >= len(kept)


def answer():
    response = dns.message.make_response(QUESTION)
    response.answer.append(dns.rrset.from_text(NAME, 30, "IN", "SRV", "1 5 81 a.", "1 0 82 b."))
    response.additional.append(dns.rrset.from_text("a.", 30, "IN", "A", "10.0.0.1"))
    response.additional.append(dns.rrset.from_text("b.", 30, "IN", "AAAA", "::1"))
    return response.to_wire()


class Garbler(dns.nameserver.AddressAndPortNameserver):
    """Gives these bytes for an answer, whatever it is asked."""

    def __init__(self, wire):
        super().__init__("127.0.0.1", 53)
        self.wire = wire

    def kind(self):
        return "garbler"

    async def async_query(self, request, **_):
        message = dns.message.from_wire(self.wire)
        # What answers another question never gets as far as this, nor does another's answer.
        message.id = request.id
        if not request.is_response(message):
            message = dns.message.make_response(request)
            message.set_rcode(dns.rcode.NXDOMAIN)
        return message


def read(wire):
    nameservers = Nameservers("here", [("127.0.0.1", 53)], tcp=False, timeout_s=0.01)

    async def found():
        return [Garbler(wire)]

    nameservers._found = found
    records = SrvRecords(nameservers, KINDS, all_priorities=True)
    return asyncio.run(records.read("here", NAME))


def test_the_answer_that_is_garbled_below():
    reading = read(answer())
    assert [each.id for each in reading.instances] == ["10.0.0.1:81", "[::1]:82"]


@given(st.lists(st.tuples(st.integers(0, len(answer()) - 1), st.integers(0, 255)), max_size=4))
def test_garbled_bytes(changes):
    wire = bytearray(answer())
    for at, byte in changes:
        wire[at] = byte
    try:
        reading = read(bytes(wire))
    except RegistryError:
        return
    assert reading.ttl_s >= 0


@given(st.integers(0, len(answer())))
def test_cut_bytes(length):
    try:
        reading = read(answer()[:length])
    except RegistryError:
        return
    assert reading.instances
