"""Eight bugs, each put into the SDK for the length of a `with` block.

Each is a mistake that a real client-side balancer has had; the fuzzer must
find every one of them.
"""

import asyncio
from contextlib import contextmanager

from trimtab.calls import Request, RetryPolicy
from trimtab.discovery.guard import LossGuard
from trimtab.discovery.reading import Reader
from trimtab.health.envoy import EnvoyDetector
from trimtab.pool import Pick
from trimtab.strategies.drawing import RandomChoice

__all__ = ["BUGS"]


@contextmanager
def _patched(owner, name, value):
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def stale_members():
    """A strategy that takes new members in, and never lets go of old ones."""
    update = RandomChoice.update

    def keep_all(self, members):
        known = {member.id: member for member in self._members}
        update(self, [*(known | {member.id: member for member in members}).values()])

    return _patched(RandomChoice, "update", keep_all)


def leaking_pick():
    """A pick whose failure is never given back."""
    done = Pick.done

    def leak(self, now, outcome):
        if outcome == "failure":
            self.is_done = True
        else:
            done(self, now, outcome)

    return _patched(Pick, "done", leak)


def unconfirmed_doubt():
    """A guard that holds a shrunken list back, and never has it confirmed."""

    def keep_all(self, before, after, _now):
        if 2 * len(after) >= len(before):
            return after
        self.release_at = float("inf")
        return before

    return _patched(LossGuard, "decide", keep_all)


def starved_member():
    """A strategy that never comes to the last of its members."""

    choose = RandomChoice.choose

    def avoid_last(self, now, key, exclude):
        member = choose(self, now, key, exclude)
        others = [other for other in self._members[:-1] if other.id not in exclude]
        return others[0] if others and member is self._members[-1] else member

    return _patched(RandomChoice, "choose", avoid_last)


def endless_retries():
    """A retry policy that has lost count of the attempts."""
    allows = RetryPolicy.allows

    def forgetful(self, failure, _attempts, *, method, replayable):
        return allows(self, failure, 1, method=method, replayable=replayable)

    return _patched(RetryPolicy, "allows", forgetful)


def deaf_after_outage():
    """A reader whose watch or poll ends for good with the first error."""

    async def give_up(self, error, _backoff):
        self._receiver.fail(error)
        await asyncio.Event().wait()

    return _patched(Reader, "_wait_after", give_up)


def leaking_loser():
    """A hedge, or the attempt beside it, that came second and is never given back."""
    answer = Request._answer

    def forget(self, pick, now):
        self._out = (pick,)
        return answer(self, pick, now)

    return _patched(Request, "_answer", forget)


def endless_ejection():
    """A detector that never lets an ejected instance return."""
    return _patched(EnvoyDetector, "_end_ejections", lambda _self, _now: False)


BUGS = {
    bug.__name__: bug
    for bug in (
        stale_members,
        leaking_pick,
        unconfirmed_doubt,
        starved_member,
        endless_retries,
        deaf_after_outage,
        leaking_loser,
        endless_ejection,
    )
}
