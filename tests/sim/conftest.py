"""Fixtures for tests of the simulated world."""

import pytest
import simpy

from trimtab import Instance
from trimtab_sim import loop as simulated
from trimtab_sim.convergence import Convergence
from trimtab_sim.events import until
from trimtab_sim.recorder import Recorder
from trimtab_sim.scenario import Scenario
from trimtab_sim.scenario.content import Network as NetworkContent
from trimtab_sim.scenario.content import Service
from trimtab_sim.world.attempts import Attempt, send
from trimtab_sim.world.network import Network
from trimtab_sim.world.places import Place
from trimtab_sim.world.servers import Draws, Server
from trimtab_sim.world.world import World


class LoggedAttempt(Attempt):
    """An attempt that notes when and how it ended."""

    __slots__ = ("log",)

    def arrived(self, ending, status):
        self.is_over = True
        self.log.append((self.request, self.server._env.now, ending, status))


class ServerBench:
    """One server that takes exactly one second per request, and a client that sends to it."""

    def __init__(self, *, network=None, concurrency=1, **service):
        self.env = simpy.Environment(0.0)
        self.network = Network(network or NetworkContent(), 1)
        self.server = Server(
            self.env,
            self.network,
            Instance(host="10.0.0.1", port=80, id="s0"),
            index=0,
            service=Service(servers=1, **service),
            sampler=lambda _uniform: 1.0,
            concurrency=concurrency,
            draws=Draws(1),
        )
        self.client = Place("client")
        self.log = []
        self._requests = 0

    def send(self, times=1, *, wants_load=False):
        """Send requests now; return the last one."""
        for _ in range(times):
            attempt = LoggedAttempt(self.client, self.server, self._requests, 0)
            attempt.log, attempt.wants_load = self.log, wants_load
            self._requests += 1
            send(self.env, self.network, attempt)
        return attempt

    def at(self, moment):
        """Let time pass up to a moment, what happens at it included."""
        self.env.run(until=moment + 1e-9)

    def outcomes(self):
        """What came back: (request, second, ending, status)."""
        return [(request, round(at, 6), ending, status) for request, at, ending, status in self.log]


@pytest.fixture
def bench():
    return ServerBench


@pytest.fixture
def scenario():
    """A function from TOML, with defaults for what it leaves out, to a scenario."""

    def make(text="", *, duration=100, servers=3, clients="arrivals = {kind='poisson', rate=1}"):
        parts = [text]
        if "[scenario]" not in text:
            parts.append(f"[scenario]\nduration = {duration}")
        if "[service]" not in text:
            parts.append(f"[service]\nservers = {servers}")
        if "[[clients]]" not in text:
            parts.append(f"[[clients]]\n{clients}")
        return Scenario.from_toml("\n".join(parts))

    return make


@pytest.fixture
def in_world():
    """Run `script(world)` in a world of servers, without clients; returns what it returns."""

    def run(scenario, script, *, seed=1):
        env = simpy.Environment(0.0)
        recorder = Recorder(duration=scenario.about.duration, warmup=0.0)
        convergence = Convergence(lambda _kind, _at: 1.0, warmup=0.0)
        world = World(env, scenario, seed=seed, recorder=recorder, convergence=convergence)

        async def main():
            for group in scenario.service.groups():
                for _ in range(group.count):
                    world.add_server(group, at_start=True)
            world.spawn(world.registry.sweep())
            try:
                return await script(world)
            finally:
                await world.close()
                assert not world.failures

        return simulated.run(main(), env=env)

    return run


@pytest.fixture
def until_moment():
    return until
