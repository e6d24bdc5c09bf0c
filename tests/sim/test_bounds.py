"""Bounds: their figures, and that views keep within them with and without faults."""

import asyncio
import math
from random import Random

import pytest

from trimtab.discovery.reading import Reader
from trimtab_sim.bounds import Bounds
from trimtab_sim.simulation import simulate

CALM = """
[registry]
mode = "{mode}"
ttl = 9
heartbeat = 3
sweep = 2
propagation = {{law = "constant", mean = 0.5}}
latency = {{law = "constant", mean = 0.1}}
[network]
latency = {{law = "constant", mean = 0.2}}
[discovery]
poll_interval_s = 4.0
jitter_ratio = 0.25
grace_s = 7.0
"""


def close_to(value):
    return pytest.approx(value, abs=1e-5)


def test_calm_bounds_are_the_sums_of_their_parts(scenario):
    bounds = Bounds(scenario(CALM.format(mode="poll")))
    # One poll of 4 s and a quarter, a question of 0.5 s, one more message, the propagation.
    assert bounds("add", 50.0) == close_to(5.0 + 0.5 + 0.2 + 0.5)
    assert bounds("remove", 50.0) == close_to(6.2 + 0.5)
    assert bounds("death", 50.0) == close_to(6.2 + 9.0 + 2.0)
    assert bounds("lapse", 50.0) == close_to(0.0)
    assert [what for what, _ in bounds.rows()][:3] == ["add", "remove", "death"]


@pytest.mark.parametrize("mode", ["long_poll", "push"])
def test_with_push_there_is_no_wait_for_a_poll(scenario, mode):
    assert Bounds(scenario(CALM.format(mode=mode)))("add", 0.0) == close_to(1.2)


def test_a_polling_client_of_a_pushing_registry_waits_for_a_poll(scenario):
    text = CALM.format(mode="push") + 'mode = "poll"\n'
    assert Bounds(scenario(text))("add", 0.0) == close_to(5.0 + 1.2)


def test_laws_without_an_end_count_at_a_quantile_never_reached(scenario):
    text = "[registry]\npropagation = {law = 'exponential', mean = 1}\nmode = 'push'"
    assert Bounds(scenario(text))("add", 0.0) == pytest.approx(-math.log(1e-9), rel=1e-6)


HALVING = [
    ("action = 'crash'", False),
    ("action = 'crash'\ntargets = {count = 3}", True),
    ("action = 'crash'\ntargets = {index = [0, 1, 2]}", True),
    ("action = 'crash'\ntargets = {share = 0.5}", False),
    ("action = 'crash'\ntargets = {share = 0.6}", True),
    ("action = 'black_hole'\ntargets = 'all'", True),
    ("action = 'hang'\ntargets = 'all'", False),
]


@pytest.mark.parametrize(("action", "can"), HALVING)
def test_a_list_cut_to_less_than_half_may_be_doubted(scenario, action, can):
    text = f"[[timeline]]\nat = 5\n{action}\n"
    calm, bounds = Bounds(scenario(servers=4)), Bounds(scenario(text, servers=4))
    for kind in ("add", "remove", "death"):
        more_s = bounds(kind, 0.0) - calm(kind, 0.0)
        assert more_s == close_to(bounds.doubt_s if can else 0.0)
    assert bounds("lapse", 0.0) == close_to(0.0)


def test_servers_of_weight_0_are_no_part_of_the_list_that_is_halved(scenario):
    text = "[service]\nservers = [{}, {weight = 0.0}]\n[[timeline]]\nat = 5\naction = 'crash'"
    bounds = Bounds(scenario(text))
    assert bounds("add", 0.0) == close_to(bounds.spread_s + bounds.doubt_s)


def test_each_loss_begins_the_grace_period_again(scenario):
    text = "[network]\nloss = {}\n[discovery]\ngrace_s = {}"
    gentle, none = (Bounds(scenario(text.format(0.01, grace))) for grace in (5.0, 0.0))
    assert gentle("death", 0.0) > none("death", 0.0) + 7 * 5.0


def test_zones_several_removals_and_churn_may_halve_too(scenario):
    zone = (
        "[service]\nservers = [{count = 4, zone = 'a'}, {count = 4}]\n"
        "[[timeline]]\nat = 5\naction = 'crash'\ntargets = {zone = 'a'}"
    )
    two = "[[timeline]]\nat = 5\naction = 'crash'\n" * 2
    churn = "[[churn]]\nevery = 5\ndo = {action = 'crash'}"
    for text in (zone, two, churn):
        bounds = Bounds(scenario(text, servers=8))
        assert bounds("add", 0.0) == close_to(bounds.spread_s + bounds.doubt_s)


def test_a_registry_fault_counts_from_its_end(scenario):
    text = "[[timeline]]\nat = 50\naction = 'registry_outage'\nduration = 20"
    bounds = Bounds(scenario(text, duration=1000))
    calm_s, after_s = Bounds(scenario(duration=1000))("add", 0.0), bounds.after_recovery_s("add")
    assert bounds("add", 10.0) == close_to(calm_s)
    sooner = 50.0 - calm_s + 0.001
    assert bounds("add", sooner) == close_to(70.0 - sooner + after_s)
    assert bounds("add", 60.0) == close_to(10.0 + after_s)
    assert bounds("lapse", 60.0) == close_to(10.0 + bounds.after_recovery_s("lapse"))
    assert bounds("add", 70.0 + after_s + 1.0) == close_to(calm_s)


def test_registry_faults_end_with_the_healing_or_the_run(scenario):
    heal = "[scenario]\nduration = 1000\nheal = 100\n"
    outage = "[[timeline]]\nat = 50\naction = 'registry_outage'\n"
    for text, end in (
        (outage, 1000.0),
        (outage + heal, 100.0),
        (outage + "duration = 500\n" + heal, 100.0),
        ("[[churn]]\nevery = 9\ndo = {action = 'registry_stale'}\n" + heal, 100.0),
        ("[[churn]]\nevery = 9\nfrom = 30\ndo = {action = 'registry_stale'}\n", 1000.0),
    ):
        bounds = Bounds(scenario(text, duration=1000))
        assert bounds("add", 60.0) == close_to(end - 60.0 + bounds.after_recovery_s("add"))


def test_losses_add_timeouts_and_a_total_loss_has_no_bound(scenario):
    calm = Bounds(scenario())
    some = Bounds(scenario("[network]\nloss = 0.1"))
    assert calm("add", 0.0) < some("add", 0.0) < math.inf
    assert some("lapse", 0.0) > 1.0
    assert Bounds(scenario("[network]\nloss = 1"))("add", 0.0) == math.inf


# -- what really happens -------------------------------------------------------------------------

SETTLED = """
[scenario]
duration = 400
[service]
servers = {servers}
[registry]
mode = "{mode}"
heartbeat = {heartbeat}
ttl = {ttl}
sweep = {sweep}
propagation = {{law = "exponential", mean = {propagation}}}
latency = {{law = "{law}", mean = {latency}}}
[network]
latency = {{law = "constant", mean = {message}}}
[discovery]
poll_interval_s = {poll}
grace_s = {grace}
[[clients]]
count = 3
arrivals = {{kind = "poisson", rate = 0.1}}
[[churn]]
every = {every}
do = {{action = "{taker}", duration = {lasting}, targets = {{count = {count}}}}}
[[churn]]
every = 30
do = {{action = "{leaver}", targets = {{count = 1}}}}
[[churn]]
every = 30
do = {{action = "add"}}
"""


def drawn(mode, seed):
    rng = Random(f"{mode}/{seed}")
    heartbeat = rng.choice([1, 3, 5])
    return SETTLED.format(
        mode=mode,
        servers=rng.randint(2, 8),
        heartbeat=heartbeat,
        ttl=3 * heartbeat,
        sweep=rng.choice([0.5, 1, 3]),
        propagation=rng.choice([0.001, 0.5]),
        law=rng.choice(["constant", "exponential"]),
        latency=rng.choice([0.001, 0.05]),
        message=rng.choice([0.0, 0.01, 0.2]),
        poll=rng.choice([0.5, 5.0, 20.0]),
        grace=rng.choice([0.0, 5.0]),
        every=rng.choice([5, 30]),
        taker=rng.choice(["crash", "black_hole"]),
        lasting=rng.choice([3, 20, 40]),
        count=rng.choice([1, 2]),
        leaver=rng.choice(["remove", "replace"]),
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["poll", "long_poll", "push"])
def test_views_keep_within_their_bounds_whatever_the_settings(scenario, mode, seed):
    run = simulate(scenario(drawn(mode, seed)), seed=seed, strategy="random")
    assert run.convergence.times()
    assert list(map(str, run.convergence.violations(400.0))) == []


def test_bounds_are_close_to_the_longest_times(scenario):
    text = (
        "[registry]\nttl = 9\nheartbeat = 3\n[discovery]\npoll_interval_s = 4\n"
        "[[churn]]\nevery = 60\ndo = {action = 'crash', duration = 40}"
    )
    clients = "count = 20\narrivals = {kind = 'poisson', rate = 0.01}"
    run = simulate(scenario(text, duration=3000, servers=20, clients=clients))
    calm_s = Bounds(run.scenario)("death", 0.0) - Bounds(run.scenario).doubt_s
    slowest = max(
        max(agreed.values()) - change.at
        for change in run.convergence.changes
        if (agreed := change.agreed_at) and change.kind == "death" and None not in agreed.values()
    )
    assert 0.8 * calm_s < slowest <= calm_s


def test_slow_discovery_is_a_violation(scenario, monkeypatch):
    poll = Reader._read

    async def lazy(self):
        await poll(self)
        await asyncio.sleep(7.0)

    monkeypatch.setattr(Reader, "_read", lazy)
    text = "[[churn]]\nevery = 20\ndo = {action = 'add'}"
    run = simulate(scenario(text, duration=400))
    assert run.convergence.violations(400.0)
