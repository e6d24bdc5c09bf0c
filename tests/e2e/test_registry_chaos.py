"""A registry's cluster is harmed in every way while real backends take requests all the time.

No call fails; nobody is told anything that is not so; changes flow again without help; and
nothing is left behind.
"""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from e2e_load import Load, failures, share
from troubled_registries import cluster  # noqa: F401 - a fixture

from trimtab import BalancedTransport, Directory, DiscoverySettings, Instance, register

pytestmark = pytest.mark.real
NAMES = ["b1", "b2", "b3", "b4"]
ALL = frozenset(NAMES)
TTL_S = 6.0
# Longer than any registrant needs to come back: a heartbeat that hangs, a backoff, a heartbeat.
SETTINGS = DiscoverySettings(grace_s=12.0)
CALM_S = 1.0
OTHERS = ("asyncio_", "Trio thread")
"""Names of worker threads of the libraries, which come and go by themselves."""
LIMIT_S = 100.0


class Witness:
    """A client under load, and every list that it was told."""

    def __init__(self, url, *, rate_per_s=200):
        self.url, self.rate_per_s = url, rate_per_s
        self.told = []
        self.load = self.directory = None
        self._loop = None

    def run(self, story):
        """Load the backends while `story` happens, in a thread; give all calls."""
        done = asyncio.run(self._run(story))
        print(f"\n{len(done)} calls, {len(failures(done))} failed")
        assert failures(done) == []
        assert all(ids >= ALL for ids in self.told), self.told
        return done

    async def _run(self, story):
        before = leftovers()
        transport = BalancedTransport(self.url, discovery=SETTINGS, trust_env=False)
        ended = []

        def tell():
            try:
                story()
            finally:
                ended.append(self.load.now_s)

        async with (
            httpx.AsyncClient(transport=transport, trust_env=False) as client,
            Directory(self.url, settings=SETTINGS) as directory,
        ):
            self.directory, self._loop = directory, asyncio.get_running_loop()
            directory.on_change("orders", self._note)
            await directory.snapshot("orders")
            self.load = Load(client, "http://orders/work", rate_per_s=self.rate_per_s)
            self.load.at(CALM_S, tell)
            done = await self.load.run(lambda: ended[0] + CALM_S if ended else LIMIT_S)
        assert leftovers() == before
        return done

    def _note(self, snapshot):
        self.told.append({each.id for each in snapshot.instances if each.status == "passing"})

    def state(self):
        """How discovery stands."""
        asked = self.directory.state("orders")
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result(10)

    def is_well(self):
        state = self.state()
        return state.failures == 0 and state.held is None


def leftovers():
    """The tasks and threads of this program but those of `asyncio.to_thread`."""
    threads = {each for each in threading.enumerate() if not each.name.startswith(OTHERS)}
    return asyncio.all_tasks(), threads


class Newcomer:
    """One who registers as soon as the registry takes it, in a thread of its own."""

    def __init__(self, url, port):
        self._registration = register(
            url, "orders", Instance(id="new", host="localhost", port=port), ttl_s=TTL_S
        )
        self._wish = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    async def _live(self):
        await self._registration.start_persistently()
        await asyncio.to_thread(self._wish.wait)
        await self._registration.stop()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._wish.set()
        self._thread.join()


def changes_flow(witness, fleet, wait_until):
    """Have somebody register, and wait until the client is told; give the seconds it took."""
    begun_s = witness.load.now_s
    # It shares a backend with one of the others, by another name: one address is one instance.
    with Newcomer(fleet.url, fleet.backends["b1"].port):
        wait_until(lambda: witness.told and "new" in witness.told[-1], 60.0)
        seen_s = witness.load.now_s - begun_s
        wait_until(witness.is_well, 60.0)
    return seen_s


@pytest.fixture
def backends(fleet, cluster):  # noqa: F811 - a fixture
    fleet.url = cluster.url
    fleet.start_backends(*NAMES, ttl_s=TTL_S)
    return fleet


@pytest.mark.parametrize(
    ("rate_per_s", "within_s"),
    [
        pytest.param(100, LIMIT_S, id="short"),
        pytest.param(200, 5.0, id="soak", marks=pytest.mark.soak),
    ],
)
def test_the_leader_is_killed(backends, cluster, wait_until, rate_per_s, within_s):  # noqa: F811
    witness, flows_s = Witness(cluster.url, rate_per_s=rate_per_s), []

    def story():
        cluster.kill_leader()
        flows_s.append(changes_flow(witness, backends, wait_until))

    done = witness.run(story)
    print(f"{cluster.kind}: leader killed; a change flows after {flows_s[0]:.2f} s")
    assert flows_s[0] < within_s
    assert all(share(done, name, CALM_S, LIMIT_S) > 0 for name in NAMES), "all were called on"


def quorum(cluster):  # noqa: F811
    cluster.lose_quorum()
    return cluster.start


def frozen(cluster):  # noqa: F811
    cluster.freeze()
    return cluster.thaw


def killed(cluster):  # noqa: F811
    cluster.kill()
    return cluster.start


def wiped(cluster):  # noqa: F811
    cluster.wipe()
    return cluster.start


@pytest.mark.soak
@pytest.mark.parametrize("harm", [quorum, frozen, killed, wiped])
def test_it_is_away_for_half_a_minute(backends, cluster, wait_until, harm):  # noqa: F811
    witness, took_s = Witness(cluster.url), []
    pause = threading.Event()

    def story():
        heal = harm(cluster)
        pause.wait(30.0)
        told = list(witness.told)
        heal()
        healed_s = witness.load.now_s
        wait_until(witness.is_well, 60.0)
        well_s = witness.load.now_s - healed_s
        took_s.extend((well_s, changes_flow(witness, backends, wait_until)))
        assert told[:1] == told, "it was told something while the registry was away"

    witness.run(story)
    print(
        f"{cluster.kind}, {harm.__name__}: well again {took_s[0]:.2f} s after the healing; "
        f"a change then flows in {took_s[1]:.2f} s; told of lists of "
        f"{[len(each) for each in witness.told]}"
    )
