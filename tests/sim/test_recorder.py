"""The recorder: sums that must agree, bins, digests, and bounded memory."""

import io
import json
import subprocess
import sys

import pytest

from trimtab_sim.recorder import BINS, Outcome, Recorder
from trimtab_sim.simulation import simulate


class Target:
    """What the recorder reads of a server."""

    def __init__(self, index, *, is_alive=True):
        self.place = type("Place", (), {"index": index})
        self.is_alive = is_alive
        self.last_sent_at = None


def recorded(requests, *, duration=10.0, warmup=0.0, trace=None):
    """A recorder with these requests: (number, started, ended, outcome, server)."""
    recorder = Recorder(duration=duration, warmup=warmup, trace=trace)
    moments = [(started, 0, one) for one in requests for started in [one[1]]]
    moments += [(ended, 1, one) for one in requests for ended in [one[2]]]
    for now, ends, (number, started, _, outcome, server) in sorted(moments):
        if ends:
            recorder.end(number, started, now, outcome, server)
        else:
            recorder.begin(now)
    return recorder


HISTORY = [
    (0, 0.0, 2.0, Outcome.OK, 0),
    (1, 1.0, 1.5, Outcome.TIMEOUT, 1),
    (2, 3.0, 9.0, Outcome.OK, 0),
    (3, 9.5, 12.0, Outcome.REFUSED, -1),
]


def test_littles_law_holds_for_any_history():
    recorder = recorded(HISTORY)
    assert recorder.little(20.0) == (pytest.approx(11.0), pytest.approx(11.0))


def test_requests_still_in_flight_show_in_littles_law():
    recorder = recorded(HISTORY)
    recorder.begin(15.0)
    area, sojourn = recorder.little(20.0)
    assert area - sojourn == pytest.approx(5.0)


def test_figures_are_of_requests_that_began_after_the_warm_up_and_bins_of_all():
    recorder = recorded(HISTORY, warmup=2.5)
    assert recorder.outcomes[Outcome.OK] == 1
    assert recorder.outcomes[Outcome.REFUSED] == 1
    assert sum(recorder.outcomes) == 2
    assert recorder.latency.mean == pytest.approx(6.0)
    assert recorder.failed_latency.mean == pytest.approx(2.5)
    assert (recorder.begun, recorder.ended, recorder.in_flight) == (4, 4, 0)
    good = {place: count for place, count in enumerate(recorder.good) if count}
    bad = {place: count for place, count in enumerate(recorder.bad) if count}
    assert good == {int(2.0 * BINS / 10): 1, int(9.0 * BINS / 10): 1}
    assert bad == {int(1.5 * BINS / 10): 1, BINS: 1}
    assert sum(recorder.spent) == pytest.approx(8.0)
    assert recorder.unsent == 1


def test_attempts_are_counted_by_server_and_bin_and_those_to_the_dead_apart():
    recorder = Recorder(duration=10.0, warmup=0.0)
    dead = Target(2, is_alive=False)
    recorder.send(Target(0), 0, 0.0)
    recorder.send(dead, 1, 5.0)
    recorder.send(dead, 2, 10.0)
    assert (recorder.attempts, recorder.retries, recorder.most_attempts) == (3, 2, 3)
    assert [sum(bins) for bins in recorder.sent] == [1, 0, 2]
    assert (recorder.sent[2][BINS // 2], recorder.sent[2][BINS]) == (1, 1)
    assert (recorder.late_sends, dead.last_sent_at) == (2, 10.0)


def variants():
    for place in range(5):
        for row in range(len(HISTORY)):
            changed = [list(one) for one in HISTORY]
            changed[row][place] = changed[row][place] + (0.125 if place in {1, 2} else 1)
            yield [tuple(one) for one in changed]


def test_the_digest_changes_with_any_detail_of_any_request():
    digests = [recorded(history).digest() for history in [HISTORY, *variants(), HISTORY[:-1]]]
    assert len(set(digests)) == len(digests)
    assert recorded(HISTORY).digest() == digests[0]


def test_asking_for_the_digest_midway_does_not_change_it():
    once, twice = recorded(HISTORY[:2]), recorded(HISTORY[:2])
    twice.digest()
    for recorder in (once, twice):
        recorder.begin(12.0)
        recorder.end(9, 12.0, 13.0, Outcome.OK, 0)
    assert once.digest() == twice.digest()


def test_a_trace_has_a_line_for_each_request_however_many():
    trace = io.StringIO()
    many = [(n, n / 1000, n / 1000 + 0.5, Outcome.OK, n % 7) for n in range(5000)]
    recorder = recorded([*many, (5000, 9.0, 9.5, Outcome.NO_LIST, -1)], trace=trace)
    recorder.digest()
    rows = [json.loads(line) for line in trace.getvalue().splitlines()]
    assert len(rows) == 5001
    assert rows[0] == {
        "request": 0, "started": 0.0, "ended": 0.5, "outcome": "ok", "server": 0,
    }  # fmt: skip
    assert (rows[-1]["outcome"], rows[-1]["server"]) == ("no_list", -1)


def test_another_run_has_another_digest(scenario):
    texts = [
        "",
        "[[timeline]]\nat = 90\naction = 'crash'",
        "[[timeline]]\nat = 99\naction = 'slow'\nfactor = 2\ntargets = 'all'",
    ]
    busy = "arrivals = {kind='poisson', rate=50}"
    digests = [simulate(scenario(text, clients=busy)).recorder.digest() for text in texts]
    assert len(set(digests)) == len(digests)
    assert simulate(scenario(clients=busy), seed=2).recorder.digest() != digests[0]


MEASURED = """
import resource
from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import simulate

def requests(count):
    text = f'''
    [scenario]
    duration = {count / 5000}
    [service]
    servers = 100
    [[clients]]
    count = 10
    arrivals = {{kind = "poisson", rate = 500}}
    '''
    run = simulate(Scenario.from_toml(text), strategy="random")
    assert run.recorder.ended > 0.99 * count, run.recorder.ended
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

print(*[requests(count) for count in COUNTS])
"""


def peaks_kib(*counts):
    """The highest memory so far after runs of so many requests each, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.replace("COUNTS", repr(counts))],
        check=True,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.untraced
def test_memory_does_not_grow_with_the_requests():
    few, many = peaks_kib(20_000, 100_000)
    assert many - few < 4 * 1024  # 52 bytes for each request more


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_million_requests_stay_under_a_gibibyte():
    (peak,) = peaks_kib(10_000_000)
    assert peak < 1024 * 1024
