"""Clusters of three, of each kind, and what may befall them, in one vocabulary."""

from __future__ import annotations

import pytest

from real.etcd import BINARIES, Etcd
from real.server import running

KINDS = ("consul", "etcd", "zookeeper")
_CLUSTERS = {"consul": "consul_cluster", "etcd": "etcd_cluster", "zookeeper": "zookeepers"}
_SINGLES = {"consul": "consul", "etcd": "etcd35", "zookeeper": "zookeeper"}
_OWN = {"consul": "own_consul", "etcd": "one_etcd", "zookeeper": "own_zookeeper"}


class Cluster:
    """A cluster of one kind: who talks to it and how it is harmed is the same for all."""

    def __init__(self, kind, made):
        self.kind, self._made = kind, made
        self.url = made.url
        self.voters = made.servers if kind == "consul" else made.members
        self.processes = [*self.voters, made.agent] if kind == "consul" else list(self.voters)

    def kill_leader(self):
        self._made.leader().kill()

    def lose_quorum(self):
        """Leave one of three alive."""
        for voter in self.voters[:2]:
            voter.kill()

    def freeze(self):
        for process in self.processes:
            process.freeze()

    def thaw(self):
        for process in self.processes:
            process.thaw()

    def kill(self):
        self._made.kill()

    def wipe(self):
        """Kill all, and let them forget all."""
        self._made.kill()
        self._made.wipe()

    def start(self):
        """Start those that do not run, and wait until all is as it was."""
        if self.kind == "etcd":
            dead = [each for each in self.voters if each.process.poll() is not None]
            self._made.start(*dead)
        else:
            self._made.start()


def single_of(request, kind):
    """Give the one server of a kind that stands for the whole run."""
    return request.getfixturevalue(_SINGLES[kind])


def own_of(request, kind):
    """Give one server of a kind, for this test alone."""
    return request.getfixturevalue(_OWN[kind])


@pytest.fixture
def one_etcd(tmp_path):
    """An etcd 3.5 for one test."""
    with running(Etcd(BINARIES["3.5"], tmp_path / "etcd")) as server:
        yield server


def cluster_of(request, kind):
    """Give three servers of a kind, for this test alone."""
    return Cluster(kind, request.getfixturevalue(_CLUSTERS[kind]))


@pytest.fixture(params=KINDS)
def cluster(request):
    """A cluster of each kind for one test."""
    return cluster_of(request, request.param)
