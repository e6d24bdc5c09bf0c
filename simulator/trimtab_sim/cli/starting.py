"""The scenario that `new` writes."""

from __future__ import annotations

__all__ = ["START"]

START = """\
# A scenario for trimtab-sim.
#   run it:              trimtab-sim run FILE
#   compare strategies:  trimtab-sim compare FILE
#   try settings:        trimtab-sim sweep FILE --set discovery.poll_interval_s=1,5,30
#
# Durations are texts such as "250ms" or "1m30s", or seconds. `trimtab-sim schema` describes all
# keys for your editor, `trimtab-sim list` names scenarios to borrow from.

[scenario]
name = "My service"
description = "What happens to callers when instances crash, turn slow and are replaced?"
duration = "180s"  # virtual time: an hour takes some seconds
warmup = "20s"     # left out of the figures
heal = "120s"      # all faults are over here; everything must be right again soon after
strategies = ["least_latency", "least_request", "round_robin"]

# The servers: how many, how long a request takes, how many at a time.
[service]
servers = 10
time = { law = "lognormal", mean = "20ms", cv2 = 1.0 }
concurrency = 4

# How clients learn of them. A dead server vanishes from the registry after its TTL.
[registry]
mode = "poll"  # or "long_poll", "push"
ttl = "15s"
heartbeat = "5s"

# The SDK's own settings, verbatim. `trimtab-sim schema` has them all, with their defaults.
[discovery]
poll_interval_s = 5.0

[balancer.retry]
max_attempts = 3
# statuses = [503]  # answers that are tried again elsewhere, besides what broke on the way
# failures = ["refused", "connect_timeout", "no_response", "timeout"]  # time-outs, too
# budget_ratio = 0.1  # retries per request, at most

# What the client does about instances that the registry calls well and that are not:
# [balancer.health.outliers]  # leave out who fails
# variant = "envoy"           # or "grpc_a50"
# max_ejected_ratio = 0.2
# [balancer.health.slow_start]  # give newcomers their share little by little
# window_s = 30.0
# [balancer.hedge]  # when an answer is late, ask a second one
# quantile = 0.95
# [balancer.probe]  # look for itself
# check = "http:/health"
# interval_s = 5.0
# [balancer.concurrency]  # requests in flight on one instance, and waiting for room
# max_in_flight = 20
# max_pending = 100

[network]
latency = { law = "constant", mean = "1ms" }  # one way

# Who calls: five processes of 100 requests per second, a quarter of what ten servers can do.
[[clients]]
count = 5
arrivals = { kind = "poisson", rate = "100/s" }
timeout = "1s"

# What happens, and when.
[[timeline]]
at = "30s"
action = "crash"  # connections are refused, heartbeats end; back after the duration
targets = { count = 2 }
duration = "30s"

[[timeline]]
at = "60s"
action = "slow"
factor = 10
targets = { count = 1 }
duration = "30s"

[[timeline]]
at = "90s"
action = "replace"  # a rolling deploy: a new one comes, the old one leaves
targets = { count = 3 }
every = "5s"
drain = "2s"

# What must hold, in every replication and for every strategy; else `run` exits with 1.
[expect]
success_ratio = "99%"
views_within_bound = true
"""
