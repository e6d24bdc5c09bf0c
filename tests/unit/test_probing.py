"""When instances are probed, and when the probes are believed: exact figures."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import ConfigurationError
from trimtab.check import Check
from trimtab.health.probing import ProbeSettings, ProbeState, Streak

TCP = Check(kind="tcp", interval_s=5.0, timeout_s=2.0, rise=2, fall=3)


class Fixed(Random):
    """Draws the given numbers."""

    def __init__(self, *draws):
        super().__init__()
        self.draws = list(draws)

    def random(self):
        return self.draws.pop(0)


def verdicts(results, *, rise=2, fall=3):
    streak = Streak(rise, fall)
    return "".join({True: "+", False: "-", None: "."}[streak.add(ok=r == "1")] for r in results)


def test_a_verdict_takes_rise_passes_or_fall_failures_in_a_row():
    assert verdicts("111000011") == ".++..--.+"
    assert verdicts("000") == "..-"
    assert verdicts("0010010") == "......."
    assert verdicts("10", rise=1, fall=1) == "+-"


@given(st.text("01"), st.integers(1, 5), st.integers(1, 5))
def test_a_verdict_is_what_the_last_results_say(results, rise, fall):
    for end, verdict in enumerate(verdicts(results, rise=rise, fall=fall), 1):
        seen = results[:end]
        wanted = "+" if seen.endswith("1" * rise) else "-" if seen.endswith("0" * fall) else "."
        assert verdict == wanted


def test_probes_start_an_interval_apart_whatever_they_take():
    state = ProbeState.of(TCP, Fixed(0.25), 100.0)
    assert state.next_at == 101.25
    state.begin(101.25)
    assert state.next_at == 106.25
    assert state.result(103.0, ok=True) is None
    assert state.next_at == 106.25
    state.begin(106.25)
    assert state.result(120.0, ok=True) is True  # It took longer than the interval.
    assert state.next_at == 120.0


def test_intervals_are_jittered_both_ways():
    state = ProbeState.of(TCP, Fixed(0.0, 0.0, 0.5, 1.0), 0.0, jitter_ratio=0.1)
    gaps = []
    for _ in range(3):
        state.begin(0.0)
        gaps.append(state.next_at)
    assert gaps == [4.5, 5.0, 5.5]


def first_seen(check, phase, fault_at):
    """Probe an instance that falls silent at `fault_at`; say when that is believed."""
    state = ProbeState.of(check, Fixed(phase), 0.0)
    while True:
        now = state.next_at
        state.begin(now)
        ok = now < fault_at
        ended = now if ok else now + check.timeout_s
        if state.result(ended, ok=ok) is False:
            return ended - fault_at


@pytest.mark.parametrize("fall", [1, 2, 3])
def test_a_fault_is_seen_within_the_bounds_of_the_closed_form(fall):
    check = TCP.with_(fall=fall)
    shortest, longest = (fall - 1) * 5.0 + 2.0, fall * 5.0 + 2.0
    # The fault begins with a probe's start, or (as near as can be) just after it.
    assert first_seen(check, 0.0, 50.0) == shortest
    assert first_seen(check, 0.0, 50.0 + 2**-40) == pytest.approx(longest, abs=1e-9)
    seen = [first_seen(check, n / 1000, 50.0) for n in range(1000)]
    assert min(seen) == shortest
    assert max(seen) <= longest
    # Evenly spread phases are seen, in the mean, half an interval after the earliest.
    assert sum(seen) / len(seen) == pytest.approx((shortest + longest) / 2, abs=0.01)


def test_first_probes_of_many_are_spread_over_the_interval():
    rng = Random(1)
    due = sorted(ProbeState.of(TCP, rng, 0.0).next_at for _ in range(500))
    assert 0 <= due[0] < due[-1] < 5.0
    # The chance that some tenth of the interval gets less than half or more than twice its
    # 50 is below 1e-6 per draw (binomial); with this seed it does not happen.
    tenths = [sum(n / 2 <= at < (n + 1) / 2 for at in due) for n in range(10)]
    assert all(25 < count < 100 for count in tenths)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("jitter_ratio", value) for value in (1.0, -0.1, float("nan"))),
        ("max_at_once", 0),
        ("carrier", "tcp"),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ConfigurationError, match=f"{name} is"):
        ProbeSettings(check=TCP, **{name: value})
