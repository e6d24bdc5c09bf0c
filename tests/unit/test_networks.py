"""Addresses that are refused, however they are written."""

import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab import ConfigurationError
from trimtab.networks import NetworkPolicy, _address

METADATA = "169.254.169.254"
SPELLINGS = [
    METADATA, "2852039166", "0xA9FEA9FE", "0Xa9fea9fe", "169.254.43518", "169.16689662",
    "0251.0376.0251.0376", "0251.254.0xa9.254", "0x0000000000A9FEA9FE", "00000251.254.169.254",
    "::ffff:169.254.169.254", "::FFFF:A9FE:A9FE", "0:0:0:0:0:ffff:a9fe:a9fe",
    "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1",
    "\uff11\uff16\uff19.254.169.254", "169\u3002254\u3002169\u3002254",
]  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS)
def test_the_metadata_service_is_refused_in_every_spelling(host):
    refusal = NetworkPolicy().refusal_of(host)
    assert refusal is not None
    assert "is link-local, where clouds keep their metadata; name 169.254.0.0/16" in refusal
    assert refusal.startswith(METADATA)


@pytest.mark.parametrize("host", SPELLINGS)
def test_who_names_it_gets_it_in_every_spelling_and_nothing_else(host):
    policy = NetworkPolicy(("169.254.169.0/24", "64:ff9b::/96", "2002::/16"))
    assert policy.refusal_of(host) is None
    assert "169.254.1.1 is link-local" in policy.refusal_of("169.254.1.1")
    assert "10.0.0.1 lies in none of" in policy.refusal_of("10.0.0.1")


@pytest.mark.parametrize(
    ("host", "what"),
    [("fe80::1", "link-local"), ("fe80::1%eth0", "link-local"), ("febf::1", "link-local"),
     ("fd00:ec2::254", "metadata"), ("fd20:ce::254", "metadata"), ("100.100.100.200", "metadata"),
     ("168.63.129.16", "metadata"), ("192.0.0.192", "metadata"),
     ("0", "unspecified"), ("0.0.0.0", "unspecified"), ("::", "unspecified"),
     ("::0", "unspecified"), ("224.0.0.1", "multicast"), ("239.255.255.255", "multicast"),
     ("ff02::1", "multicast"), ("255.255.255.255", "broadcast"), ("4294967295", "broadcast")],
)  # fmt: skip
def test_what_no_instance_can_be_is_refused(host, what):
    assert what in NetworkPolicy().refusal_of(host)
    assert what in NetworkPolicy(("0.0.0.0/0", "::/0")).refusal_of(host), "named by nobody"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "::1", "10.0.0.1", "192.168.0.1", "172.16.0.1", "8.8.8.8", "100.64.0.1",
     "2001:db8::1", "fd12:3456::1", "::ffff:10.0.0.1", "127.1", "2130706433"],
)  # fmt: skip
def test_ordinary_addresses_are_permitted(host):
    assert NetworkPolicy().refusal_of(host) is None


@pytest.mark.parametrize(
    "host",
    ["backend-7", "localhost", "a9fe.example.com", "0xG", "1.2.3.4.5", "4294967296", "08.1.1.1",
     "256.1", "1.2.65536", "1..2", "0x", "1.", "", "\u0661.1.1.1", "gr\u00fc\u00dfe", "a" * 253,
     "\u00ad", "x:y", ":::", "169.254.169.254.", "1_0", "+1"],
)  # fmt: skip
def test_a_name_says_nothing(host):
    assert NetworkPolicy().refusal_of(host) is None
    assert NetworkPolicy(("10.0.0.0/8",)).refusal_of(host) is None


def test_a_list_shuts_out_all_others():
    policy = NetworkPolicy(["10.0.0.0/8", "fd00::/8", "127.0.0.1"])
    for host in ("10.1.2.3", "fd12::1", "127.0.0.1", "::ffff:10.0.0.1", "0x7f000001"):
        assert policy.refusal_of(host) is None
    for host in ("11.0.0.1", "127.0.0.2", "2001:db8::1", "::1", "2851995649"):
        assert policy.refusal_of(host) is not None
    assert "lies in none of allow_networks, 10.0.0.0/8, fd00::/8" in policy.refusal_of("11.0.0.1")
    assert "metadata" in policy.refusal_of("fd00:ec2::254"), "in a wider network, and not named"


def test_nothing_is_permitted_by_an_empty_list():
    assert NetworkPolicy(()).refusal_of("127.0.0.1") is not None


def test_policies_are_values():
    assert NetworkPolicy(["10.0.0.0/8"]) == NetworkPolicy(("10.0.0.0/8",))
    assert hash(NetworkPolicy(["10.0.0.0/8"])) == hash(NetworkPolicy(("10.0.0.0/8",)))


@pytest.mark.parametrize("wrong", ["10.0.0.0/8", 5, {"10.0.0.0/8"}, ["10.0.0.1/8"], ["x"], [None]])
def test_what_is_no_list_of_networks_is_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=r"^allow_networks "):
        NetworkPolicy(wrong)


@given(st.text(st.sampled_from("0123456789abcdefxX."), max_size=20))
@example("1.2.3")
@example("0x.1")
@example("1.16777216")
def test_it_reads_addresses_as_the_operating_system_does(text):
    try:
        expected = socket.inet_ntoa(socket.inet_aton(text))
    except OSError:
        expected = None
    found = _address(text)
    assert (None if found is None else str(found)) == expected
