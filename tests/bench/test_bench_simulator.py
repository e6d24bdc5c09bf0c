"""What a simulated request costs: each depth, beside loops by hand and other simulators.

The model is the same for all: 10 clients, 100 servers, exponential times, load 0.8, balanced at
random unless said. Trimtab does all of its work and notes all of its figures.
"""

import asyncio
import heapq
import random

import httpx
import pytest
import simpy

from trimtab_sim import loop as simulated
from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import simulate

CLIENTS, SERVERS, RATE, MEAN_S = 10, 100, 8000.0, 0.01
SCENARIO = Scenario.from_toml(f"""
[scenario]
duration = "2s"
[service]
servers = {SERVERS}
time = {{law = "exponential", mean = {MEAN_S}}}
[[clients]]
count = {CLIENTS}
arrivals = {{kind = "poisson", rate = {RATE / CLIENTS}}}
""")
STRATEGIES = ["random", "round_robin", "least_request", "least_latency"]


@pytest.fixture
def measure(benchmark):
    """Time a function that returns how many requests it did."""

    def measure(group, function, *, baseline=False, rounds=5):
        benchmark.group = group
        done = benchmark.pedantic(function, rounds=rounds, iterations=1, warmup_rounds=1)
        assert done > 0
        benchmark.extra_info.update(baseline=baseline, units=done)

    return measure


def _simulated(strategy):
    return simulate(SCENARIO, strategy=strategy).recorder.ended


def _by_hand(duration_s=2.0):
    """The floor: a heap, and each server's backlog as a number."""
    rng, heap, serial = random.Random(1), [], 0
    push, pop, draw = heapq.heappush, heapq.heappop, rng.expovariate
    free_at, done, total = [0.0] * SERVERS, 0, 0.0
    for client in range(CLIENTS):
        push(heap, (draw(RATE / CLIENTS), client, False, 0.0))
    serial = CLIENTS
    while heap:
        now, _, ends, started = pop(heap)
        if ends:
            done += 1
            total += now - started
            continue
        if now < duration_s:
            push(heap, (now + draw(RATE / CLIENTS), serial, False, 0.0))
            server = int(rng.random() * SERVERS)
            free_at[server] = end = max(now, free_at[server]) + draw(1 / MEAN_S)
            push(heap, (end, serial + 1, True, now))
            serial += 2
    return done


def _by_simpy(duration_s=2.0):
    """SimPy as its tutorials have it: a process per request, a Resource per server."""
    env, rng, times = simpy.Environment(), random.Random(1), []
    servers = [simpy.Resource(env) for _ in range(SERVERS)]

    def request():
        started = env.now
        with servers[int(rng.random() * SERVERS)].request() as turn:
            yield turn
            yield env.timeout(rng.expovariate(1 / MEAN_S))
        times.append(env.now - started)

    def client():
        while env.now < duration_s:
            yield env.timeout(rng.expovariate(RATE / CLIENTS))
            env.process(request())

    for _ in range(CLIENTS):
        env.process(client())
    env.run()
    return len(times)


def test_by_hand(measure):
    measure("simulated request, core", _by_hand, baseline=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_core(measure, strategy):
    measure("simulated request, core", lambda: _simulated(strategy))


def test_textbook_simpy(measure):
    measure("simulated request, core", _by_simpy)


def test_ciw(measure):
    ciw = pytest.importorskip("ciw")
    network = ciw.create_network(
        # Poisson arrivals that are split at random are Poisson arrivals at each server.
        arrival_distributions=[ciw.dists.Exponential(RATE / SERVERS)] * SERVERS,
        service_distributions=[ciw.dists.Exponential(1 / MEAN_S)] * SERVERS,
        number_of_servers=[1] * SERVERS,
        routing=[[0.0] * SERVERS] * SERVERS,
    )

    def run():
        ciw.seed(1)
        simulation = ciw.Simulation(network)
        simulation.simulate_until_max_time(0.2)
        return len(simulation.get_all_records())

    measure("simulated request, core", run, rounds=3)


def test_happysim(measure):
    happysim = pytest.importorskip("happysimulator", reason="happysim needs Python 3.13")
    from happysimulator.components.load_balancer import LoadBalancer, strategies  # noqa: PLC0415
    from happysimulator.distributions import ExponentialLatency  # noqa: PLC0415

    def run():
        random.seed(1)
        sink = happysim.Sink()
        servers = [
            happysim.Server(f"s{i}", service_time=ExponentialLatency(MEAN_S), downstream=sink)
            for i in range(SERVERS)
        ]
        balancer = LoadBalancer("balancer", backends=servers, strategy=strategies.Random())
        source = happysim.Source.poisson(rate=RATE, target=balancer, stop_after=0.2)
        happysim.Simulation(
            sources=[source], entities=[balancer, *servers, sink], duration=0.4
        ).run()
        return sum(server.stats.requests_completed for server in servers)

    measure("simulated request, core", run, rounds=3)


class _AtOnce(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request):
        return httpx.Response(200, stream=httpx.ByteStream(b"ok"))


async def _at_once(count=1000, *, in_tasks):
    transport = _AtOnce()
    async with httpx.AsyncClient(transport=transport, timeout=1.0, trust_env=False) as client:
        url = httpx.URL("http://service/")
        for _ in range(count):
            request = client.request("GET", url, extensions={"request": 1})
            await (asyncio.create_task(request) if in_tasks else request)
    return count


def test_httpx_answered_at_once_in_tasks(measure):
    """The limit of the depth `client`: the same HTTP client and loop, and nothing to simulate.

    Each request has a task of its own, as it has in any program that sends more than one.
    """
    measure(
        "simulated request, real clients",
        lambda: simulated.run(_at_once(in_tasks=True)),
        baseline=True,
        rounds=20,
    )


def test_httpx_answered_at_once_in_a_row(measure):
    """Without tasks, on asyncio's own loop: what the HTTP client itself costs."""
    measure(
        "simulated request, real clients",
        lambda: asyncio.run(_at_once(in_tasks=False)),
        rounds=20,
    )


@pytest.mark.parametrize("load", [0.1, 0.8])
@pytest.mark.parametrize("depth", ["client", "wire"])
def test_real_clients(measure, depth, load):
    """At load 0.8 some 300 requests are in flight, and the processor's caches feel it."""
    scenario = SCENARIO.replace("scenario.duration", "0.4s")
    scenario = scenario.replace("service.time.mean", f"{load * SERVERS / RATE}s")
    measure(
        "simulated request, real clients",
        lambda: simulate(scenario, strategy="least_latency", depth=depth).recorder.ended,
        rounds=7 if depth == "client" else 3,
    )
