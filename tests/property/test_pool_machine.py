"""Random updates, picks, outcomes and time: the pool equals a naive model.

The first machine runs for every strategy, on the registry's word alone. The second adds what the
client judges for itself: ejection, probes, pauses, panic, bounds, a subset.
"""

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
    ConcurrencyLimits,
    EnvoyOutliers,
    HealthSettings,
    Instance,
    NoEligibleInstanceError,
    NoInstancesError,
    PickDoneError,
    Pool,
    SaturatedError,
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
priorities = st.one_of(st.just([0]), st.lists(st.sampled_from([0, 1, 127]), min_size=1))


def in_tiers(list_, priorities):
    """Give the instances these priorities in turn."""
    return [
        each.with_(priority=priorities[place % len(priorities)]) for place, each in enumerate(list_)
    ]


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

    @rule(list_=st.lists(instances, max_size=9), priorities=priorities)
    def update(self, list_, priorities):
        list_ = in_tiers(list_, priorities)
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
            assert 0 <= each.failed_in_row <= each.picks
            assert each.latency_s is None or 0 <= each.latency_s < float("inf")
            assert self.pool.members[each.id].expected_s(self.now) >= 0


# Its default table would take most of this test's time, and is no different.
FASTER = {"maglev": Maglev(table_size=1009)}


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_pool_equals_the_model(strategy):
    machine = type("Machine", (PoolMachine,), {"strategy": FASTER.get(strategy, strategy)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=25, stateful_step_count=40, deadline=None)
    )


FEW = "abcd"
few = st.builds(
    Instance,
    host=st.just("10.0.0.7"),
    port=st.just(80),
    id=st.sampled_from(FEW),
    weight=st.sampled_from([0, 1, 1, 1, 1, 3]),
    status=st.sampled_from([*Status, *[Status.PASSING] * 4]),
)


class Judged(ModelMember):
    """A member, and what is held against it."""

    def __init__(self, instance, since):
        super().__init__(instance, since)
        self.row = self.times = 0
        self.ejected_at = self.returned_at = self.probe = self.paused_until = None

    def fails(self, *, failed):
        """Count failures in a row; say whether there are two now."""
        self.row = self.row + 1 if failed else 0
        if self.row < 2:
            return False
        self.row = 0
        return True

    def own_reason(self):
        if self.ejected_at is not None:
            return "ejected"
        if self.probe is not None:
            return "probe failed"
        return "asked to wait" if self.paused_until is not None else None

    def release(self, now):
        self.ejected_at, self.returned_at, self.row = None, now, 0


class JudgingMachine(RuleBasedStateMachine):
    """Envoy's ejection after two failures in a row, at most half; one in flight at most."""

    @initialize(
        seed=st.integers(0, 2**32),
        strategy=st.sampled_from(["random", "least_latency", "ring_hash"]),
        inside=st.none() | st.just("abc"),
        panic_ratio=st.sampled_from([0.0, 0.5]),
    )
    def start(self, seed, strategy, inside, panic_ratio):
        self.inside, self.panic_ratio = inside, panic_ratio
        outliers = EnvoyOutliers(
            consecutive_failures=2, max_ejected_ratio=0.5, success_rate=False, max_ejection_s=60.0
        )
        self.pool = Pool(
            strategy=strategy,
            rng=Random(seed),
            health=HealthSettings(outliers=outliers, panic_ratio=panic_ratio, max_pause_s=20.0),
            concurrency=ConcurrencyLimits(max_in_flight=1),
            subset=(lambda all_: [each for each in all_ if each.id in inside]) if inside else None,
        )
        self.now, self.sweep_at = 1000.0, None
        self.model, self.open = {}, []

    @rule(list_=st.lists(few, max_size=6), priorities=priorities)
    def change(self, list_, priorities):
        self.update(in_tiers(list_, priorities))

    def update(self, list_):
        before, self.model = self.model, {}
        for each in list_:
            known = self.model.get(each.id) or before.get(each.id) or Judged(each, self.now)
            known.instance = each
            self.model[each.id] = known
        self.pool.update(list_, self.now)
        self.sweep_at = self.sweep_at or self.now + 10.0

    @rule(id_=st.sampled_from(FEW))
    def leave_and_come_back(self, id_):
        present = [each.instance for each in self.model.values()]
        self.update([each for each in present if each.id != id_])
        self.update(present)

    def suffice(self, well):
        """Say whether there are several tiers, and those that are well carry everything."""
        carried = Counter()
        for priority in {each.instance.priority for each in self.model.values()}:
            tier = {
                id_: each.instance.weight
                for id_, each in self.model.items()
                if each.instance.priority == priority
            }
            healthy = sum(weight for id_, weight in tier.items() if id_ in well)
            carried[priority] = min(1.0, 1.4 * healthy / (sum(tier.values()) or 1.0))
        return len(carried) > 1 and carried.total() > 0.999

    def standing(self):
        """Return who may be picked, who may not and why, and whether there is panic."""
        against = {id_: member.reason() for id_, member in self.model.items()}
        usable = [id_ for id_, reason in against.items() if reason is None]
        own = {id_: self.model[id_].own_reason() for id_ in usable}
        well = [id_ for id_ in usable if own[id_] is None]
        panics = len(well) < len(usable) * self.panic_ratio and not self.suffice(well)
        if panics:
            well = usable
        else:
            against |= {id_: reason for id_, reason in own.items() if reason}
        inside = [id_ for id_ in well if not self.inside or id_ in self.inside]
        tiers = {self.model[id_].instance.priority for id_ in inside}
        outside = [
            id_ for id_ in well if id_ not in inside and self.model[id_].instance.priority in tiers
        ]
        against |= dict.fromkeys(outside, "outside the subset")
        well = [id_ for id_ in well if id_ not in outside]
        return well, {id_: reason for id_, reason in against.items() if reason}, panics

    @rule(exclude=st.lists(st.sampled_from(FEW), max_size=7), key=st.sampled_from(FEW))
    def pick(self, exclude, key):
        well, against, _ = self.standing()
        roomy = {id_ for id_ in well if self.model[id_].counts["in_flight"] < 1}
        if not well:
            with pytest.raises((NoInstancesError, NoEligibleInstanceError)) as caught:
                self.pool.pick(self.now)
            assert getattr(caught.value, "reasons", {}) == Counter(against.values())
        elif not roomy:
            with pytest.raises(SaturatedError):
                self.pool.pick(self.now, key=key, exclude=exclude)
        else:
            pick = self.pool.pick(self.now, key=key, exclude=exclude)
            assert pick.instance.id in (roomy - set(exclude) or roomy)
            model = self.model[pick.instance.id]
            model.counts["in_flight"] += 1
            self.open.append((pick, model, []))

    def note(self, model, *, failed):
        if self.model.get(model.instance.id) is not model or not model.fails(failed=failed):
            return
        ejected = sum(each.ejected_at is not None for each in self.model.values())
        if model.ejected_at is None and ejected + 1 <= len(self.model) / 2:
            model.ejected_at = self.now
            model.times = min(model.times + 1, 3)  # one beyond 60 s

    @precondition(lambda self: self.open)
    @rule(place=st.integers(0), status=st.sampled_from([200, 404, 500, 503]))
    def answered(self, place, status):
        pick, model, answers = self.open[place % len(self.open)]
        pick.answered(self.now, ok=status < 500, status=status)
        if not answers:
            self.note(model, failed=status >= 500)
        answers.append(status)

    @precondition(lambda self: self.open)
    @rule(place=st.integers(0), outcome=st.sampled_from([*COUNTS, "failure"]))
    def done(self, place, outcome):
        pick, model, answers = self.open.pop(place % len(self.open))
        pick.done(self.now, outcome)
        model.counts["in_flight"] -= 1
        if answers[:1] and answers[0] >= 500:
            return  # it has been noted
        if outcome == "failure" or (outcome == "success" and not answers):
            self.note(model, failed=outcome == "failure")

    @rule(id_=st.sampled_from(FEW), is_well=st.booleans())
    def probed(self, id_, is_well):
        self.pool.probed(id_, self.now, is_well=is_well, why="refused")
        model = self.model.get(id_)
        if model is not None:
            model.probe = None if is_well else "refused"
            if is_well and model.ejected_at is not None:
                model.release(self.now)

    @rule(id_=st.sampled_from(FEW), wait_s=st.sampled_from([-1.0, 0.0, 5.0, 30.0]))
    def pause(self, id_, wait_s):
        self.pool.pause(id_, wait_s, self.now)
        model = self.model.get(id_)
        if model is not None and wait_s > 0:
            model.paused_until = max(model.paused_until or 0.0, self.now + min(wait_s, 20.0))

    @rule(passed_s=st.sampled_from([0.0, 0.5, 5.0, 10.0, 30.0, 1e4]))
    def wait(self, passed_s):
        self.now += passed_s
        self.pool.review(self.now)
        for model in self.model.values():
            if model.paused_until is not None and model.paused_until <= self.now:
                model.paused_until = None
        if self.sweep_at is not None and self.now >= self.sweep_at:
            self.sweep()

    def sweep(self):
        self.sweep_at = self.now + 10.0
        for model in self.model.values():
            if model.ejected_at is not None:
                if model.ejected_at + min(30.0 * model.times, 60.0) <= self.now:
                    model.release(self.now)
            elif model.returned_at is not None and model.returned_at + 10.0 <= self.now:
                model.times = max(model.times - 1, 0)

    @invariant()
    def equals_the_model(self):
        if not hasattr(self, "pool"):
            return
        well, against, panics = self.standing()
        figures = self.pool.statistics(self.now)
        assert [member.id for member in self.pool.eligible] == well
        assert self.pool.is_panicking is panics
        for id_, each in figures.members.items():
            model = self.model[id_]
            in_flight = model.counts["in_flight"]
            assert (each.in_flight, each.limit) == (in_flight, 1)
            full = "saturated" if in_flight else None
            assert each.reason == against.get(id_, full)
            rule_ = "failures in a row" if model.ejected_at is not None else ""
            assert each.why == (model.probe or rule_)
        roomy = [id_ for id_ in well if self.model[id_].counts["in_flight"] < 1]
        assert self.pool.has_room is bool(roomy)
        suspects = [
            id_
            for id_, member in self.model.items()
            if member.own_reason() in {"ejected", "probe failed"}
        ]
        assert [each.id for each in self.pool.suspects(self.now)] == suspects


def test_what_the_client_judges_equals_the_model():
    run_state_machine_as_test(
        JudgingMachine, settings=settings(max_examples=25, stateful_step_count=40, deadline=None)
    )
