"""A bound on silence, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from trimtab.registries.zookeeper.ensemble import while_answered
from trimtab_sim.loop import run


def waited_s(answers_at, *, timeout_s=5.0, needs_s=float("inf")):
    """How long a block that needs so long may last while others are answered at these times."""

    async def ask():
        loop = asyncio.get_running_loop()
        begun = loop.time()

        def answered_at():
            return max((begun + at for at in answers_at if begun + at <= loop.time()), default=0.0)

        try:
            async with while_answered(timeout_s, answered_at):
                await asyncio.sleep(min(needs_s, 1000.0))
        except TimeoutError:
            return loop.time() - begun
        return needs_s

    return run(ask())


@pytest.mark.parametrize(
    ("answers_at", "ends_after_s"),
    [
        ([], 5.0),
        ([-1.0], 5.0),
        ([0.5], 5.5),
        ([1, 2, 3, 4], 9.0),
        ([4.5, 9.0, 9.9], 14.9),
        ([6.0], 5.0),
        (range(100), 104.0),
    ],
)
def test_a_question_is_given_up_so_long_after_the_last_answer(answers_at, ends_after_s):
    assert waited_s(answers_at) == pytest.approx(ends_after_s)


def test_a_question_that_is_answered_ends_at_once():
    assert waited_s([], needs_s=3.0) == 3.0
    assert waited_s(range(60), needs_s=50.0) == 50.0
