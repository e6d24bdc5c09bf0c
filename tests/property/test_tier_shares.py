"""Priority tiers: shares and spillover under random health, load and change."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import Instance, Pool, PrioritySettings
from trimtab.strategies.groups import priority_loads

PARTS = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6).filter(
    lambda parts: sum(parts) > 0.01
)
TIERS = {0: 2, 1: 3, 2: 1}
MOST = 2


@given(parts=PARTS)
def test_a_level_gets_no_more_than_it_carries_and_only_what_is_left(parts):
    loads = priority_loads(parts)
    whole = sum(parts)
    assert sum(loads) == pytest.approx(1.0)
    if whole <= 1.0:
        assert loads == pytest.approx([part / whole for part in parts])
        return
    left = 1.0
    for part, load in zip(parts, loads, strict=True):
        assert load == pytest.approx(min(part, left))
        left -= load


def listed(priority, present):
    return [
        Instance(host="h", port=1 + n, id=f"{priority}-{n}", priority=priority)
        for n in range(present)
    ]


@given(
    steps=st.lists(st.sampled_from(["pick", "pick", "pick", "end", "shrink", "grow"]), max_size=60),
    seed=st.integers(0, 2**32),
)
def test_the_best_tier_with_room_is_taken_whatever_comes_and_goes(steps, seed):
    rng = Random(seed)
    pool = Pool(strategy="random", rng=rng, priorities=PrioritySettings(spill_above_in_flight=MOST))
    counts, running = dict(TIERS), []
    for step in ["grow", *steps]:
        if step == "pick":
            in_flight = {
                priority: sum(each.in_flight for each in pool.members.values()
                              if each.instance.priority == priority)
                for priority in counts
            }  # fmt: skip
            roomy = [each for each in counts if in_flight[each] < MOST * counts[each]]
            running.append(pool.pick(0.0))
            assert running[-1].instance.priority == min(roomy, default=min(counts))
        elif step == "end" and running:
            running.pop(rng.randrange(len(running))).done(0.0, "success")
        elif step in {"shrink", "grow"}:
            if step == "shrink":
                counts = {each: rng.randint(1, most) for each, most in TIERS.items()}
                counts.pop(rng.choice([*TIERS]))
            else:
                counts = dict(TIERS)
            pool.update([each for pair in counts.items() for each in listed(*pair)], 0.0)
