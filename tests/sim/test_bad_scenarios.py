"""Ninety wrong scenario files: each gets a message with its line and a remedy."""

import re

import pytest

from trimtab_sim.errors import ScenarioError
from trimtab_sim.scenario import Scenario

GOOD = """\
[scenario]
name = "base"
duration = "120s"
warmup = "20s"
heal = "100s"

[service]
servers = [{ count = 5, zone = "a" }, { count = 5, zone = "b" }]
time = { law = "exponential", mean = "10ms" }

[registry]
ttl = "15s"

[discovery]
poll_interval_s = 5.0

[balancer]
strategy = "least_latency"

[[clients]]
name = "web"
count = 4
zone = "a"
arrivals = { kind = "poisson", rate = "100/s" }

[[timeline]]
at = "60s"
action = "crash"
targets = { count = 2 }
"""

# what to replace in the good file, by what, and what the message must say, after `file:line: `
WRONG = {
    "not TOML": ("[service]", "[service", r"7: not TOML: "),
    "a key twice": ('warmup = "20s"', 'duration = "1s"', r"4: not TOML: "),
    "nothing at all": (GOOD, "", r"1: file: 'scenario' is missing; add a table \[scenario\]"),
    "no clients": (
        GOOD[GOOD.index("[[clients]]") :],
        "",
        r"1: file: 'clients' is missing; add at least one table \[\[clients\]\]",
    ),
    "empty clients": (
        GOOD[GOOD.index("[[clients]]") :],
        "[[timeline]]\nat=1\naction='crash'\n",
        r"1: file: 'clients' is missing",
    ),
    "single brackets": (
        "[[clients]]",
        "[clients]",
        r"20: clients: a table is wrong here; it must be a list; .* double brackets",
    ),
    "unknown table": ("[registry]", "[regsitry]", r"11: regsitry: .* mean 'registry'\?"),
    "unknown key in scenario": (
        'heal = "100s"',
        'heel = "100s"',
        r"5: scenario.heel: unknown key; did you mean 'heal'\?",
    ),
    "unknown key in service": (
        "[registry]",
        "concurency = 2\n[registry]",
        r"11: service.concurency: .* 'concurrency'\?",
    ),
    "unknown key in a group": (
        'zone = "b" }',
        'zoen = "b" }',
        r"8: service.servers\[1\].zoen: .* 'zone'\?",
    ),
    "unknown key of a law": (
        'mean = "10ms"',
        'mean = "10ms", cv = 2',
        r"9: service.time.cv: unknown key; known are law, mean",
    ),
    "unknown law": ('"exponential"', '"exponental"', r"9: service.time.law: .* 'exponential'\?"),
    "law without a name": (
        'law = "exponential", ',
        "",
        r"9: service.time: 'law' is missing; add law = ",
    ),
    "law without a mean": (
        ', mean = "10ms"',
        "",
        r"9: service.time: 'mean' is missing; add mean = \"10s\"",
    ),
    "mean of zero": ('mean = "10ms"', "mean = 0", r"9: service.time.mean: .* must be above 0"),
    "negative mean": ('mean = "10ms"', "mean = -1", r"9: service.time.mean: -1 is not a duration"),
    "infinite mean": ('mean = "10ms"', "mean = inf", r"9: service.time.mean: inf is not a dur"),
    "no such unit": (
        '"10ms"',
        '"10 msec"',
        r"9: service.time.mean: '10 msec' is not a duration; write seconds",
    ),
    "pareto without a mean": (
        'law = "exponential"',
        'law = "pareto", shape = 1',
        r"9: service.time.shape: shape is 1.0; it must be above 1",
    ),
    "an empirical law without its file": (
        'law = "exponential", mean = "10ms"',
        'law = "empirical", file = "nowhere.txt"',
        r"9: service.time.file: .*nowhere.txt: cannot be read: No such file",
    ),
    "no duration": ('duration = "120s"\n', "", r"1: scenario: 'duration' is missing; add dur"),
    "zero duration": ('"120s"', "0", r"3: scenario.duration: it must be above 0"),
    "a duration that is true": ('"120s"', "true", r"3: scenario.duration: True is not a dur"),
    "a long warm-up": ('"20s"', '"2m"', r"4: scenario.warmup: warm-up of 120 s in 120 s leaves"),
    "healing after the end": ('"100s"', '"3m"', r"5: scenario.heal: 180 s is after the end, 120 s"),
    "an unknown strategy to compare": (
        'heal = "100s"',
        'strategies = ["random",\n  "magic"]',
        r"5: scenario.strategies\[1\]: no strategy is called 'magic'; known are ",
    ),
    "a strategy twice": (
        'heal = "100s"',
        'strategies = ["random", "random"]',
        r"5: scenario.strategies\[1\]: 'random' is listed twice",
    ),
    "an unknown strategy": (
        '"least_latency"',
        '"fastest"',
        r"18: balancer.strategy: no strategy is called 'fastest'",
    ),
    "no servers": (
        '[{ count = 5, zone = "a" }, { count = 5, zone = "b" }]',
        "0",
        r"8: service.servers: 0 is wrong here; it must be a whole number of at least 1",
    ),
    "an empty list of servers": (
        '[{ count = 5, zone = "a" }, { count = 5, zone = "b" }]',
        "[]",
        r"8: service.servers: there is no server",
    ),
    "a text for a number": (
        "count = 4",
        'count = "four"',
        r"22: clients\[0\].count: 'four' is wrong here; it must be a whole number",
    ),
    "a service name with a space": (
        "[service]",
        '[service]\nname = "my service"',
        r"8: service.name: 'my service' is wrong here; it must be a name of letters",
    ),
    "an unknown overflow": (
        "[registry]",
        'overflow = "explode"\n[registry]',
        r"11: service.overflow: 'explode' is not known; known are drop, reject",
    ),
    "heartbeats too rare": (
        'ttl = "15s"',
        'ttl = "15s"\nheartbeat = "20s"',
        r"13: registry.heartbeat: a heartbeat each 20 s cannot keep .* of 15 s alive",
    ),
    "an unknown mode": ('ttl = "15s"', 'mode = "pull"', r"12: registry.mode: 'pull' is not known"),
    "an unknown setting of discovery": (
        "poll_interval_s",
        "poll_intervals",
        r"15: discovery.poll_intervals: DiscoverySettings has no .* 'poll_interval_s'\?",
    ),
    "to follow a registry that can only be polled": (
        "poll_interval_s = 5.0",
        'mode = "push"',
        r"15: discovery.mode: this registry can only be polled; give \[registry\] mode",
    ),
    "no network": (
        "poll_interval_s = 5.0",
        'allow_networks = ["10.0.0.1/8"]',
        r"15: discovery.allow_networks: allow_networks has '10.0.0.1/8', which is not a network",
    ),
    "a setting of discovery out of range": (
        "poll_interval_s = 5.0",
        "poll_interval_s = 0",
        r"15: discovery.poll_interval_s: poll_interval_s is 0; it must be above 0",
    ),
    "an unknown setting of retry": (
        'strategy = "least_latency"',
        "[balancer.retry]\nattempts = 2",
        r"19: balancer.retry.attempts: RetryPolicy has no .* did you mean 'max_attempts'\?",
    ),
    "a setting of retry out of range": (
        'strategy = "least_latency"',
        "[balancer.retry]\nmax_attempts = 0",
        r"19: balancer.retry.max_attempts: max_attempts is 0",
    ),
    "a setting of retry of the wrong kind": (
        'strategy = "least_latency"',
        '[balancer.retry]\nmax_attempts = "many"',
        r"19: balancer.retry.max_attempts: 'many' is wrong here; it must be a whole number",
    ),
    "a setting of retry that is no single value": (
        'strategy = "least_latency"',
        "[balancer.retry]\nstatuses = 503",
        r"19: balancer.retry.statuses: 503 is wrong here; it must be a list of statuses, .*\[503\]",
    ),
    "an unknown failure": (
        'strategy = "least_latency"',
        '[balancer.retry]\nfailures = ["timeouts"]',
        r"19: balancer.retry.failures: failures has 'timeouts'; known are connect_timeout, ",
    ),
    "a choice of the wrong kind": (
        'strategy = "least_latency"',
        '[balancer.retry]\nretry_after = ["service"]',
        r"18: balancer.retry: a setting is of the wrong kind among retry_after = \['service'\]",
    ),
    "no name for a strategy": (
        'strategy = "least_latency"',
        "strategy = 3",
        r"18: balancer.strategy: 3 is wrong here; write a strategy's name",
    ),
    "a deadline in words": (
        'strategy = "least_latency"',
        'deadline_s = "1s"',
        r"18: balancer.deadline_s: deadline_s is '1s'; it must be a number of seconds",
    ),
    "an unknown setting of health": (
        'strategy = "least_latency"',
        "[balancer.health]\npanic = 0.5",
        r"19: balancer.health.panic: HealthSettings has no .* did you mean 'panic_ratio'\?",
    ),
    "panic above the whole": (
        'strategy = "least_latency"',
        "[balancer.health]\npanic_ratio = 50",
        r"19: balancer.health.panic_ratio: panic_ratio is 50; it must be from 0 to 1",
    ),
    "panic in words": (
        'strategy = "least_latency"',
        '[balancer.health]\npanic_ratio = "half"',
        r"19: balancer.health.panic_ratio: 'half' is wrong here; it must be a number$",
    ),
    "an unknown variant of outliers": (
        'strategy = "least_latency"',
        '[balancer.health]\noutliers = "envoi"',
        r"19: balancer.health.outliers: outliers is 'envoi'; known are envoy, grpc_a50",
    ),
    "outliers by number": (
        'strategy = "least_latency"',
        "[balancer.health]\noutliers = 5",
        (
            r"19: balancer.health.outliers: 5 is wrong here; write a table "
            r'\[balancer.health.outliers\], or "envoy" or "grpc_a50"'
        ),
    ),
    "outliers without a variant": (
        'strategy = "least_latency"',
        "[balancer.health.outliers]\nmax_ejected_ratio = 0.5",
        r"18: balancer.health.outliers: outliers need a variant; known are envoy, grpc_a50",
    ),
    "a variant in brackets": (
        'strategy = "least_latency"',
        '[balancer.health.outliers]\nvariant = ["envoy"]',
        r"19: balancer.health.outliers.variant: outliers need a variant; known are envoy",
    ),
    "a setting of the other variant": (
        'strategy = "least_latency"',
        '[balancer.health.outliers]\nvariant = "grpc_a50"\nconsecutive_failures = 3',
        r"20: balancer.health.outliers.consecutive_failures: GrpcOutliers has no such setting",
    ),
    "outliers out of range": (
        'strategy = "least_latency"',
        '[balancer.health.outliers]\nvariant = "envoy"\nmax_ejected_ratio = 20',
        r"20: balancer.health.outliers.max_ejected_ratio: max_ejected_ratio is 20; .* from 0 to 1",
    ),
    "a slow start that takes no time": (
        'strategy = "least_latency"',
        "[balancer.health.slow_start]\nwindow_s = 0",
        r"19: balancer.health.slow_start.window_s: window_s is 0; it must be above 0",
    ),
    "slow start, but how": (
        'strategy = "least_latency"',
        "[balancer.health]\nslow_start = true",
        r"19: balancer.health.slow_start: True is wrong here; write a table \[balancer.health",
    ),
    "a table that health does not have": (
        'strategy = "least_latency"',
        "[balancer.health.slowstart]\nwindow_s = 3",
        r"18: balancer.health.slowstart: HealthSettings has no .* did you mean 'slow_start'\?",
    ),
    "a hedge in per cent": (
        'strategy = "least_latency"',
        "[balancer.hedge]\nquantile = 95",
        r"19: balancer.hedge.quantile: quantile is 95; it must be between 0 and 1, such as 0.95",
    ),
    "a hedge with a unit": (
        'strategy = "least_latency"',
        '[balancer.hedge]\nafter_s = "50ms"',
        r"19: balancer.hedge.after_s: '50ms' is wrong here; it must be a number of seconds",
    ),
    "a hedge after no number": (
        'strategy = "least_latency"',
        "[balancer.hedge]\nafter_s = nan",
        r"19: balancer.hedge.after_s: nan is wrong here; it must be a number of seconds",
    ),
    "a hedge by a table": (
        'strategy = "least_latency"',
        "[balancer.hedge.after_s]\nmin = 1",
        r"18: balancer.hedge.after_s: a table is wrong here; it must be a number of seconds",
    ),
    "an unknown setting of hedging": (
        'strategy = "least_latency"',
        "[balancer.hedge]\nafter = 0.05",
        r"19: balancer.hedge.after: HedgePolicy has no such setting; did you mean 'after_s'\?",
    ),
    "an unknown setting of probes": (
        'strategy = "least_latency"',
        "[balancer.probe]\ninterval = 3",
        r"19: balancer.probe.interval: probes have no such setting; did you mean 'interval_s'\?",
    ),
    "probes without a pause": (
        'strategy = "least_latency"',
        "[balancer.probe]\ninterval_s = 0",
        r"19: balancer.probe.interval_s: .*interval_s is 0; it must be above 0",
    ),
    "a probe of what": (
        'strategy = "least_latency"',
        '[balancer.probe]\ncheck = "htp:/health"',
        r"19: balancer.probe.check: check 'htp:/health': write http\[s\]:",
    ),
    "a probe by number": (
        'strategy = "least_latency"',
        "[balancer.probe]\ncheck = 80",
        r"19: balancer.probe.check: 80 is wrong here; it must be a text",
    ),
    "probes that never fail": (
        'strategy = "least_latency"',
        "[balancer.probe]\nfall = 1.5",
        r"19: balancer.probe.fall: 1.5 is wrong here; it must be a whole number",
    ),
    "probes of some": (
        'strategy = "least_latency"',
        "[balancer.probe]\nonly_ejected = 1",
        r"19: balancer.probe.only_ejected: 1 is wrong here; it must be true or false",
    ),
    "a limit of none": (
        'strategy = "least_latency"',
        "[balancer.concurrency]\nmax_in_flight = 0",
        r"19: balancer.concurrency.max_in_flight: max_in_flight is 0; it must be 1 or more",
    ),
    "half a request in flight": (
        'strategy = "least_latency"',
        "[balancer.concurrency]\nmax_in_flight = 2.5",
        r"19: balancer.concurrency.max_in_flight: 2.5 is wrong here; it must be a whole number",
    ),
    "tiers that are full without requests": (
        'strategy = "least_latency"',
        "[balancer.priorities]\nspill_above_in_flight = 0",
        r"19: balancer.priorities.spill_above_in_flight: .* is 0; it must be a whole number from 1",
    ),
    "an unknown way to adapt": (
        'strategy = "least_latency"',
        '[balancer.concurrency]\nadaptation = "vegas"',
        r"19: balancer.concurrency.adaptation: adaptation is 'vegas'; known are aimd, gradient",
    ),
    "an unknown limit": (
        'strategy = "least_latency"',
        "[balancer.concurrency]\nmax_inflight = 3",
        r"19: balancer.concurrency.max_inflight: ConcurrencyLimits has no .* 'max_in_flight'\?",
    ),
    "limits without a value": (
        'strategy = "least_latency"',
        "concurrency = 20",
        r"18: balancer.concurrency: 20 is wrong here; write a table \[balancer.concurrency\]",
    ),
    "a value where a table belongs": (
        'strategy = "least_latency"',
        "retry = 3",
        r"18: balancer.retry: 3 is wrong here; write a table \[balancer.retry\]",
    ),
    "an unknown setting of the balancer": (
        'strategy = "least_latency"',
        'stratgy = "random"',
        r"18: balancer.stratgy: the balancer has no such setting; did you mean 'strategy'\?",
    ),
    "unknown arrivals": (
        '"poisson"',
        '"poison"',
        r"24: clients\[0\].arrivals.kind: 'poison' is not known; did you mean 'poisson'\?",
    ),
    "no rate": (', rate = "100/s"', "", r"24: clients\[0\].arrivals: 'rate' is missing; add rate"),
    "a rate of zero": ('"100/s"', "0", r"24: clients\[0\].arrivals.rate: 0 is too small; write"),
    "a rate in words": ('"100/s"', '"often"', r"24: clients\[0\].arrivals.rate: 'often' is not a"),
    "a trace that falls": (
        'kind = "poisson", rate = "100/s"',
        'kind = "trace", times = [1, 3, 2]',
        r"24: clients\[0\].arrivals.times: times must rise; sort them",
    ),
    "two groups of one name": (
        "[[timeline]]",
        '[[clients]]\nname = "web"\n[[timeline]]',
        r"27: clients\[1\].name: a group 'web' exists already",
    ),
    "an action without a moment": ('at = "60s"\n', "", r"26: timeline\[0\]: 'at' is missing; add"),
    "an action after the end": ('"60s"', '"5m"', r"27: timeline\[0\].at: 300 s is after the end"),
    "a fault after the healing": (
        '"60s"',
        '"110s"',
        r"27: timeline\[0\].at: 110 s is after the healing, 100 s",
    ),
    "an unknown action": ('"crash"', '"crush"', r"28: timeline\[0\].action: .* 'crash'\?"),
    "no action": ('action = "crash"\n', "", r"26: timeline\[0\]: 'action' is missing; add action"),
    "slow, but how much": (
        '"crash"',
        '"slow"',
        r"26: timeline\[0\]: 'factor' is missing; add factor = 10",
    ),
    "more targets than servers": (
        "count = 2 }",
        "count = 11 }",
        r"29: timeline\[0\].targets.count: there are only 10 servers, not 11",
    ),
    "a target that is not there": (
        "count = 2 }",
        "index = [0, 10] }",
        r"29: timeline\[0\].targets.index: there is no server 10; .* from 0 to 9",
    ),
    "two kinds of target": (
        "count = 2 }",
        'count = 2, zone = "a" }',
        r"29: timeline\[0\].targets: targets need exactly one of count, index, share, zone",
    ),
    "a target in no zone": (
        "count = 2 }",
        'zone = "c" }',
        r"29: timeline\[0\].targets.zone: unknown zone 'c'; known are a, b",
    ),
    "a share above the whole": (
        "count = 2 }",
        'share = "120%" }',
        r"29: timeline\[0\].targets.share: '120%' is more than 100 %",
    ),
    "targets in a word": ("{ count = 2 }", '"some"', r"29: timeline\[0\].targets: 'some' is not"),
    "a fault that takes no time": (
        "targets =",
        "duration = 0\ntargets =",
        r"29: timeline\[0\].duration: it must be above 0; leave it out",
    ),
    "a partition between what": (
        'action = "crash"\ntargets = { count = 2 }',
        'action = "partition"\nfrom = "client"\nto = "server:12"',
        (
            r"29: timeline\[0\].from: 'client' is not a side; write \"clients\", .*\n.*"
            r":30: timeline\[0\].to: there is no server:12; they are counted from 0 to 9"
        ),
    ),
    "a partition from strangers": (
        'action = "crash"\ntargets = { count = 2 }',
        'action = "partition"\nfrom = "clients:wep"\nto = "zone:z"',
        (
            r"29: .* no group of clients is called 'wep'; did you mean 'web'\?\n.*"
            r":30: timeline\[0\].to: unknown zone 'z'"
        ),
    ),
    "a path to nowhere": (
        "[registry]",
        (
            '[[network.paths]]\nfrom = "a"\nto = "moon"\n'
            'latency = { law = "constant", mean = 1 }\n[registry]'
        ),
        r"13: network.paths\[0\].to: unknown zone 'moon'",
    ),
    "churn at a moment": (
        "[[timeline]]",
        '[[churn]]\nevery = "5s"\ndo = { action = "crash", at = 3 }\n[[timeline]]',
        r"28: churn\[0\].do.at: churn draws its own moments",
    ),
    "churn all the time": (
        "[[timeline]]",
        '[[churn]]\nevery = 0\ndo = { action = "crash" }\n[[timeline]]',
        r"27: churn\[0\].every: every is 0; it must be above 0",
    ),
    "churn that ends first": (
        "[[timeline]]",
        '[[churn]]\nevery = 1\nfrom = 9\nuntil = 3\ndo = { action = "crash" }\n[[timeline]]',
        r"29: churn\[0\].until: it ends before it begins",
    ),
    "flapping at once": (
        '"crash"',
        '"flap"\nperiod = 0',
        r"29: timeline\[0\].period: period is 0; it must be above 0",
    ),
    "a burst of no length": (
        'kind = "poisson", rate = "100/s"',
        'kind = "bursty", rate = 1, burst_rate = 9, calm = 1, burst = 0',
        r"24: clients\[0\].arrivals.burst: burst is 0",
    ),
    "a day of no length": (
        'kind = "poisson", rate',
        'kind = "diurnal", period = 0, rate',
        r"24: clients\[0\].arrivals.period: period is 0",
    ),
    "two paths for one pair": (
        "[registry]",
        (
            '[network]\npaths = [{ from = "a", to = "b", latency = { law = "constant", mean = 0 } }'
            ', { from = "a", to = "b", latency = { law = "constant", mean = 0 } }]\n[registry]'
        ),
        r"12: network.paths\[1\]: these two zones have a path already",
    ),
    "no patience": (
        "count = 4",
        "count = 4\ntimeout = 0",
        r"23: clients\[0\].timeout: it must be above 0",
    ),
    "clients after the end": (
        "count = 4",
        'count = 4\nstart = "3m"',
        r"23: clients\[0\].start: these clients start after the end",
    ),
    "a registration of no length": ('"15s"', "0", r"12: registry.ttl: it must be above 0"),
    "no weight anywhere": (
        '[{ count = 5, zone = "a" }, { count = 5, zone = "b" }]',
        '[{ zone = "a", weight = 0 }]',
        r"8: service.servers: all weights are 0",
    ),
    "a priority beyond the last tier": (
        '[{ count = 5, zone = "a" }, { count = 5, zone = "b" }]',
        '[{ count = 5, zone = "a", priority = 128 }, { count = 5, zone = "b" }]',
        r"8: service.servers\[0\].priority: .*127",
    ),
    "a clock without an offset": (
        'action = "crash"\ntargets = { count = 2 }',
        'action = "registry_clock_skew"',
        r"26: timeline\[0\]: 'offset_s' is missing; add offset_s = 1.0",
    ),
    "a client that is not there": (
        'action = "crash"\ntargets = { count = 2 }',
        'action = "partition"\nfrom = "client:4"\nto = "servers"',
        r"29: timeline\[0\].from: there is no client:4; they are counted from 0 to 3",
    ),
    "whose load": (
        'action = "crash"\ntargets = { count = 2 }',
        'action = "load"\nfactor = 4\nclients = "mobile"',
        r"30: timeline\[0\].clients: no group of clients is called 'mobile'; known are web",
    ),
    "a number for a list": (
        '[{ count = 5, zone = "a" }, { count = 5, zone = "b" }]',
        "true",
        r"8: service.servers: true is wrong here; it must be a whole number or a list",
    ),
    "an unknown expectation": (
        "[registry]",
        "[expect]\np95 = 1\n[registry]",
        r"12: expect.p95: unknown key; did you mean 'p9",
    ),
    "an expectation above the whole": (
        "[registry]",
        "[expect]\nsuccess_ratio = 99.9\n[registry]",
        r"12: expect.success_ratio: 99.9 is more than 100 %; .* text like \"5%\"",
    ),
}


def test_there_are_ninety():
    assert len(WRONG) >= 90


def test_the_file_without_a_mistake_is_fine():
    assert Scenario.from_toml(GOOD).service.count == 10


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_reported_with_its_line_and_remedy(name, tmp_path):
    old, new, expected = WRONG[name]
    assert GOOD.count(old) == 1, "the piece to replace must be there once"
    path = tmp_path / "wrong.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ScenarioError) as caught:
        Scenario.load(path)
    message = str(caught.value)
    assert re.match(re.escape(f"{path}:") + expected, message), message
    assert "`" not in message
    assert caught.value.__cause__ is None


def test_several_mistakes_are_reported_at_once_in_the_order_of_lines():
    text = GOOD.replace('"60s"', '"5m"').replace('"20s"', '"2m"').replace('"15s"', '"4s"')
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_toml(text)
    lines = str(caught.value).splitlines()
    # The heartbeat is a default here, so its table stands for it.
    assert [line.split(":")[1] for line in lines] == ["4", "11", "27"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe", "is not UTF-8 at byte 0"), (None, "cannot be read: No such file")],
)
def test_a_file_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "odd.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ScenarioError, match=message):
        Scenario.load(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ScenarioError, match="cannot be read: Is a directory"):
        Scenario.load(tmp_path)
