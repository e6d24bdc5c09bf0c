"""Which draw of chance makes which choice: exact, where statistics would be slow and blunt."""

from collections import Counter
from random import Random

import pytest

from trimtab import ConfigurationError, Instance, Pool
from trimtab.member import Member
from trimtab.pool import Pick
from trimtab.strategies import Maglev, RingHash, resolve
from trimtab.strategies.client_side_weighted_round_robin import ReportedWeight
from trimtab.strategies.drawing import AliasTable


class Draws(Random):
    """Draws what it is told, and the last for ever."""

    def __init__(self, *draws):
        super().__init__()
        self.draws = list(draws)

    def random(self):
        return self.draws.pop(0) if len(self.draws) > 1 else self.draws[0]


def members(*weights):
    return [
        Member(Instance(host="10.0.0.1", port=80, id=id_, weight=weight), 0.0)
        for id_, weight in zip("abcdefgh", weights, strict=False)
    ]


def chosen(strategy, draws, *weights, exclude=(), now=0.0):
    """Say whom each of these draws chooses."""
    rng = Draws(0.0)
    made = resolve(strategy)(rng)
    made.update(members(*weights))
    word = ""
    for draw in draws:
        rng.draws = list(draw) if isinstance(draw, tuple) else [draw]
        word += made.choose(now, None, exclude).id
    return word


def grid(count):
    return [(n + 0.5) / count for n in range(count)]


@pytest.mark.parametrize(
    "weights",
    [
        (1, 2, 3, 4),
        (4, 3, 2, 1),
        (1, 1, 1),
        (5, 1, 1),
        (0.1, 0.4, 0.5),
        (1,),
        (1e300, 1e300),
        (9, 1),
    ],
)
def test_evenly_spread_draws_give_shares_by_weight_exactly(weights):
    table, count = AliasTable(list(weights)), 12_000
    seen = Counter(table.draw(Draws(draw)) for draw in grid(count))
    total = sum(weight / max(weights) for weight in weights)
    for place, weight in enumerate(weights):
        assert abs(seen[place] - count * weight / max(weights) / total) <= len(weights)


def test_no_draw_falls_outside_the_table():
    for weights in [(1, 2, 3, 4), (3, 1, 1), (1, 1)]:
        table = AliasTable(list(weights))
        assert 0 <= table.draw(Draws(0.0)) < len(weights)
        assert 0 <= table.draw(Draws(1 - 2**-53)) < len(weights)


def test_random_draws_are_even():
    assert chosen("random", grid(8), 1, 1, 1, 1) == "aabbccdd"
    assert chosen("random", grid(8), 1, 9, 1, 1) == "aabbccdd"  # weights are ignored
    assert chosen("random", [0.0, 0.999], 1, 1, 1) == "ac"


def test_weighted_random_draws_are_by_weight():
    seen = Counter(chosen("weighted_random", grid(400), 1, 2, 1))
    assert seen == {"a": 100, "b": 200, "c": 100}


@pytest.mark.parametrize("strategy", ["random", "weighted_random", "weighted_round_robin"])
def test_those_tried_are_drawn_again_until_another_comes(strategy):
    made = resolve(strategy)(Random(1))
    made.update(members(1, 2, 3, 1))
    seen = Counter(made.choose(0.0, None, ["b", "c"]).id for _ in range(200))
    assert set(seen) == {"a", "d"}
    assert min(seen.values()) > 40


def test_those_tried_leave_the_rest_their_shares():
    made = resolve("weighted_random")(Random(1))
    made.update(members(1, 4, 4, 7))
    seen = Counter(made.choose(0.0, None, ["d"]).id for _ in range(900))
    # By chance alone 60 off is beyond four deviations for each.
    assert abs(seen["a"] - 100) < 60
    assert abs(seen["b"] - 400) < 60
    assert abs(seen["c"] - 400) < 60


@pytest.mark.parametrize(
    ("draws", "pair"),
    [((0.0, 0.0), "ab"), ((0.5, 0.0), "ba"), ((0.99, 0.99), "cb"), ((0.34, 0.6), "bc")],
)
def test_two_choices_draw_a_first_and_another(draws, pair):
    rng = Draws(0.0)
    made = resolve("least_request")(rng)
    three = members(1, 1, 1)
    made.update(three)
    first, second = ({"a": 0, "b": 1, "c": 2}[id_] for id_ in pair)
    rng.draws = list(draws)
    assert made.choose(0.0, None, ()) is three[first]  # equal: the first drawn
    three[first].in_flight = 1
    rng.draws = list(draws)
    assert made.choose(0.0, None, ()) is three[second]


def test_two_choices_among_those_not_tried_compare_too():
    made = resolve("least_request")(Random(1))
    three = members(1, 1, 1)
    made.update(three)
    three[1].in_flight = 1
    assert {made.choose(0.0, None, ["a"]).id for _ in range(50)} == {"c"}
    three[2].in_flight = 1
    assert {made.choose(0.0, None, ["a"]).id for _ in range(50)} == {"b", "c"}


@pytest.mark.parametrize("weights", [(1, 1), (1, 2)])
@pytest.mark.parametrize("exclude", [(), ("x",)])
def test_two_choices_compare_at_the_time_of_the_choice(weights, exclude):
    """An unanswered request ages: the longer one waits, the dearer it is."""
    made = resolve("least_latency")(Random(1))
    pair = members(*weights)
    made.update(pair)
    for member in pair * 3:
        member.answer(Pick(member, 0.0), 0.1, ok=True)
        member.in_flight = 0
    Pick(pair[0], 0.1)
    pair[0].in_flight = 0
    assert {made.choose(9.0, None, exclude).id for _ in range(50)} == {"b"}


def test_a_reported_weight_is_none_before_the_first_report():
    weight = ReportedWeight()
    assert weight.usable(0.0, blackout_s=0.0, expiration_s=180.0) == 0.0
    assert weight.usable(1e9, blackout_s=0.0, expiration_s=180.0) == 0.0
    weight.update(5.0, 10.0)
    assert weight.usable(19.9, blackout_s=10.0, expiration_s=180.0) == 0.0
    assert weight.usable(20.0, blackout_s=10.0, expiration_s=180.0) == 5.0


@pytest.mark.parametrize(("kind", "name"), [(Maglev, "maglev"), (RingHash, "ring_hash")])
def test_a_wrong_load_factor_names_the_strategy(kind, name):
    with pytest.raises(
        ConfigurationError, match=rf"^{name}.* load_factor .*, or None for no bound"
    ):
        kind(load_factor=0.5)


@pytest.mark.parametrize("size", [4, 9, 25, 121, 65536])
def test_a_maglev_table_of_a_size_that_is_no_prime_is_refused(size):
    with pytest.raises(ConfigurationError, match="table_size"):
        Maglev(table_size=size)


def test_keyless_requests_to_a_bounded_ring_wrap_around():
    """Wherever the search begins, all are looked at."""
    for seed in range(30):
        pool = Pool(strategy=RingHash(load_factor=1.01), rng=Random(seed))
        pool.update([each.instance for each in members(1, 1, 1)], 0.0)
        picked = Counter(pool.pick(0.0).instance.id for _ in range(30))
        assert set(picked) == {"a", "b", "c"}
