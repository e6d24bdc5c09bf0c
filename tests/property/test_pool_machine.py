"""Random updates, picks, outcomes and time: the pool equals a naive model, for every strategy."""

from collections import Counter
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from trimtab import (
    Instance,
    NoEligibleInstanceError,
    NoInstancesError,
    PickDoneError,
    Pool,
    Status,
)
from trimtab.strategies import STRATEGIES, Maglev

IDS = "abcdef"
COUNTS = {"success": "successes", "failure": "failures", "cancelled": "cancelled"}
instances = st.builds(
    Instance,
    host=st.just("10.0.0.7"),
    port=st.integers(1, 9),
    id=st.sampled_from(IDS),
    weight=st.sampled_from([0, 0.5, 1, 1, 1, 3, 1e-300, 1e300]),
    status=st.sampled_from([*Status, Status.PASSING, Status.PASSING]),
)


class ModelMember:
    """What the model knows of a member: its latest instance and its counts."""

    def __init__(self, instance, since):
        self.instance = instance
        self.since = since
        self.counts = Counter()

    def reason(self):
        if self.instance.status in {Status.CRITICAL, Status.DRAINING}:
            return str(self.instance.status)
        return "weight 0" if self.instance.weight == 0 else None


class PoolMachine(RuleBasedStateMachine):
    strategy = ""

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed):
        self.pool = Pool(strategy=self.strategy, rng=Random(seed), service="orders")
        self.now = 1000.0
        self.model = {}  # present members by id
        self.open = []  # (pick, its model member, how it was answered)
        self.all = []  # every pair (member, model member) there ever was

    @rule(list_=st.lists(instances, max_size=9))
    def update(self, list_):
        before, self.model = self.model, {}
        for instance in list_:
            known = self.model.get(instance.id) or before.get(instance.id)
            if known is None:
                known = ModelMember(instance, self.now)
            known.instance = instance
            self.model[instance.id] = known
        removed = self.pool.update(list_, self.now)
        assert [member.id for member in removed] == [id_ for id_ in before if id_ not in self.model]
        assert all(member.is_removed for member in removed)
        known = {id(member) for member, _ in self.all}
        for id_, member in self.pool.members.items():
            if id(member) not in known:
                self.all.append((member, self.model[id_]))

    @rule(exclude=st.lists(st.sampled_from(IDS + "x"), max_size=7), key=st.none() | st.just("k"))
    def pick(self, exclude, key):
        eligible = {id_ for id_, member in self.model.items() if member.reason() is None}
        assert self.pool.has_other(exclude) == bool(eligible - set(exclude))
        if not eligible:
            self.pick_nothing()
            return
        pick = self.pool.pick(self.now, key=key, exclude=exclude)
        assert pick.instance.id in (eligible - set(exclude) or eligible)
        model = self.model[pick.instance.id]
        assert pick.instance is model.instance
        model.counts.update(["picks", "in_flight"])
        self.open.append((pick, model, []))

    def pick_nothing(self):
        if not self.model:
            with pytest.raises(NoInstancesError):
                self.pool.pick(self.now)
            return
        with pytest.raises(NoEligibleInstanceError) as caught:
            self.pool.pick(self.now)
        assert caught.value.reasons == Counter(m.reason() for m in self.model.values())

    @precondition(lambda self: self.open)
    @rule(place=st.integers(0), ok=st.booleans())
    def answered(self, place, ok):
        pick, _, answers = self.open[place % len(self.open)]
        pick.answered(self.now, ok=ok)
        answers.append(ok)

    @precondition(lambda self: self.open)
    @rule(place=st.integers(0), outcome=st.sampled_from(["success", "failure", "cancelled"]))
    def done(self, place, outcome):
        pick, model, answers = self.open.pop(place % len(self.open))
        pick.done(self.now, outcome)
        model.counts["in_flight"] -= 1
        failed = answers[:1] == [False] or outcome == "failure"
        model.counts["failures" if failed else COUNTS[outcome]] += 1
        with pytest.raises(PickDoneError):
            pick.done(self.now, "success")

    @rule(passed_s=st.sampled_from([0.0, 1e-6, 0.01, 1.0, 60.0, 1e5]))
    def wait(self, passed_s):
        self.now += passed_s

    @invariant()
    def equals_the_model(self):
        if not hasattr(self, "pool"):
            return
        assert list(self.pool.members) == list(self.model)
        assert [member.id for member in self.pool.eligible] == [
            id_ for id_, member in self.model.items() if member.reason() is None
        ]
        for id_, model in self.model.items():
            member = self.pool.members[id_]
            assert member.instance is model.instance
            assert member.since == model.since
            assert member.weight == model.instance.weight

    @invariant()
    def conserves(self):
        if not hasattr(self, "pool"):
            return
        for member, model in self.all:
            got = {
                name: getattr(member, name)
                for name in ("picks", "in_flight", "successes", "failures", "cancelled")
            }
            assert got == {name: model.counts[name] for name in got}
            ended = member.successes + member.failures + member.cancelled
            assert member.picks == member.in_flight + ended
            assert member.in_flight >= 0

    @invariant()
    def figures_are_sound(self):
        if not hasattr(self, "pool"):
            return
        figures = self.pool.statistics(self.now)
        assert figures.in_flight == len(self.open)  # on members that have left, too
        assert figures.eligible == len(self.pool.eligible)
        for each in figures.members.values():
            assert each.failure_load >= 0
            assert each.latency_s is None or 0 <= each.latency_s < float("inf")
            assert self.pool.members[each.id].cost(self.now) >= 0


# Its default table would take most of this test's time, and is no different.
FASTER = {"maglev": Maglev(table_size=1009)}


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_pool_equals_the_model(strategy):
    machine = type("Machine", (PoolMachine,), {"strategy": FASTER.get(strategy, strategy)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
