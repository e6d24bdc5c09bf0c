"""The network: how long messages take, and which are lost."""

import itertools

import pytest

from trimtab_sim.errors import ScenarioError
from trimtab_sim.laws import Constant, Exponential
from trimtab_sim.scenario.content import Network as Content
from trimtab_sim.scenario.content import Path
from trimtab_sim.world.network import Network, Partition
from trimtab_sim.world.places import Place, Side

WEB, BATCH = Place("client", 0, group="web", zone="a"), Place("client", 1, group="batch", zone="b")
NEAR, FAR = Place("server", 0, zone="a"), Place("server", 1, zone="b")
REGISTRY = Place("registry", zone="r")
ALL = (WEB, BATCH, NEAR, FAR, REGISTRY)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("clients", {WEB, BATCH}),
        ("servers", {NEAR, FAR}),
        ("registry", {REGISTRY}),
        ("client:1", {BATCH}),
        ("server:0", {NEAR}),
        ("clients:web", {WEB}),
        ("zone:b", {BATCH, FAR}),
    ],
)
def test_a_side_holds_the_places_that_it_names(text, places):
    assert {place for place in ALL if Side(text).holds(place)} == places


@pytest.mark.parametrize("text", ["", "client", "server:x", "servers:web", "registry:1", "zone:"])
def test_a_wrong_side_is_reported_with_the_right_forms(text):
    with pytest.raises(ScenarioError, match="is not a side; write clients"):
        Side(text)


def test_the_repr_of_a_place_has_kind_and_index():
    assert repr(WEB) == "client:0"


PAIRS = list(itertools.permutations(["clients", "servers", "registry", "client:0", "server:1"], 2))


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize(("from_", "to"), PAIRS)
def test_a_partition_cuts_exactly_what_lies_between_its_sides(from_, to, both_ways):
    network, cut = Network(Content(), 1), Partition(from_, to, both_ways=both_ways)
    network.cut(cut)
    for source, target in itertools.permutations(ALL, 2):
        there = Side(from_).holds(source) and Side(to).holds(target)
        back = Side(from_).holds(target) and Side(to).holds(source)
        expected = there or (both_ways and back)
        assert network.cuts(source, target) is expected
        assert (network.delay(source, target, 0, 0) is None) is expected
    network.mend(cut)
    assert not any(network.cuts(*pair) for pair in itertools.permutations(ALL, 2))


def test_partitions_overlap_and_the_network_is_ideal_again_after_the_last():
    network = Network(Content(), 1)
    first, second = (Partition("clients", "servers", both_ways=True) for _ in range(2))
    network.cut(first)
    network.cut(second)
    network.mend(first)
    assert network.cuts(WEB, NEAR)
    assert not network.is_ideal
    network.mend(second)
    assert network.is_ideal


def test_ways_between_zones_have_their_own_laws_in_either_direction():
    content = Content(
        latency=Constant(mean=1.0),
        paths=(
            Path(from_="a", to="b", latency=Constant(mean=2.0)),
            Path(from_="b", to="a", latency=Constant(mean=3.0)),
            Path(from_="a", to="r", latency=Constant(mean=4.0)),
        ),
    )
    network = Network(content, 1)
    assert not network.is_ideal
    delays = {
        (source, target): network.delay(source, target, 0, 0)
        for source, target in [
            (WEB, FAR),
            (FAR, WEB),
            (WEB, REGISTRY),
            (REGISTRY, WEB),
            (WEB, NEAR),
        ]
    }
    assert list(delays.values()) == [2.0, 3.0, 4.0, 4.0, 1.0]


def test_draws_are_keyed_by_message_and_follow_the_law_of_the_path():
    network = Network(Content(latency=Exponential(mean=0.5), loss=0.2), 1)
    delays = [network.delay(WEB, NEAR, request, 0) for request in range(20_000)]
    assert delays == [network.delay(BATCH, FAR, request, 0) for request in range(20_000)]
    arrived = [delay for delay in delays if delay is not None]
    # Five standard errors: 0.2 +- 0.014, and 0.5 +- 0.02.
    assert 1 - len(arrived) / len(delays) == pytest.approx(0.2, abs=0.015)
    assert sum(arrived) / len(arrived) == pytest.approx(0.5, abs=0.02)
    assert network.delay(WEB, NEAR, 0, 1) != delays[0]
