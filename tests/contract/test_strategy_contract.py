"""One contract, over every strategy."""

from random import Random

from trimtab.strategies import Maglev, RingHash, ZoneAware
from trimtab.testing.strategies import StrategyContract


class TestRandom(StrategyContract):
    strategy = "random"


class TestRoundRobin(StrategyContract):
    strategy = "round_robin"


class TestWeightedRandom(StrategyContract):
    strategy = "weighted_random"
    weighted = True


class TestWeightedRoundRobin(StrategyContract):
    strategy = "weighted_round_robin"
    weighted = True


class TestLeastRequest(StrategyContract):
    strategy = "least_request"
    weighted = True


class TestLeastLatency(StrategyContract):
    strategy = "least_latency"
    weighted = True


class TestRingHash(StrategyContract):
    strategy = "ring_hash"
    weighted = True


class TestRingHashBounded(StrategyContract):
    strategy = RingHash(points=400, load_factor=1.25)
    weighted = True
    calls_per_pick = 120  # some steps to someone with room, and as many questions


class TestMaglev(StrategyContract):
    # The default table takes fifty times as long for each of the many lists here.
    strategy = Maglev(table_size=1021)
    weighted = True


class TestMaglevBounded(StrategyContract):
    strategy = Maglev(table_size=1021, load_factor=1.25)
    weighted = True
    calls_per_pick = 120


class TestLeastRequestFullScan(StrategyContract):
    strategy = "least_request_full_scan"
    weighted = True
    calls_per_pick = None


class TestWeightedLeastRequest(StrategyContract):
    strategy = "weighted_least_request"
    weighted = True


class TestClientSideWeightedRoundRobin(StrategyContract):
    strategy = "client_side_weighted_round_robin"  # without reports


class TestZoneAware(StrategyContract):
    strategy = "zone_aware(eu-1)"
    weighted = True


class TestZoneAwareInside(StrategyContract):
    strategy = ZoneAware("eu-1", inside="weighted_round_robin")
    weighted = True


class FirstAllowed:
    """The plainest third-party strategy: someone, by the generator."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.members = ()

    def update(self, members):
        self.members = members

    def choose(self, now, key, exclude):
        return self.rng.choice([member for member in self.members if member.id not in exclude])


class TestThirdParty(StrategyContract):
    strategy = FirstAllowed
    calls_per_pick = None
