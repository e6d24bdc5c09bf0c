"""Open-loop load on a balanced client, with a record of every call."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Done:
    """One call: when it began and ended (seconds from the start), by whom, how it went."""

    began_s: float
    ended_s: float
    instance: str
    attempts: int
    failure: str
    method: str = "GET"


class Load:
    """Calls at a fixed rate, whether or not earlier ones have been answered.

    Times are in seconds from the start. On a busy machine calls begin late, and none is left out.
    The methods take turns; what is posted must come back.

    Attributes:
        done: every call that has ended.
        events_s: when each event began and ended, in the order of their ends.
        late_s: the most by which the loop woke up too late: what a busy machine adds to a bound.
    """

    def __init__(self, client, url, *, rate_per_s, methods=("GET",)):
        self.done: list[Done] = []
        self.events_s: list[tuple[float, float]] = []
        self.late_s = 0.0
        self._client, self._url = client, url
        self._methods = methods
        self._rate_per_s = rate_per_s
        self._events = []

    def at(self, when_s, what):
        """Do something, in a thread, at a time; or as soon as a condition of the load holds."""
        self._events.append((when_s, what))

    async def run(self, end_s):
        """Run until `end_s()` seconds have passed; return what was recorded."""
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        ticking = asyncio.create_task(self._tick())
        async with asyncio.TaskGroup() as group:
            for when_s, what in self._events:
                group.create_task(self._event(when_s, what))
            for number in count():
                due_s = number / self._rate_per_s
                if due_s >= end_s():
                    break
                await self._until(due_s)
                group.create_task(self._call(number))
        ticking.cancel()
        return self.done

    def since(self, event, settling_s=0.0):
        """The calls that began after an event, by its number, and have ended."""
        if len(self.events_s) <= event:
            return []
        from_s = self.events_s[event][1] + settling_s
        return [call for call in self.done if call.began_s > from_s]

    @property
    def now_s(self):
        return self._loop.time() - self._start

    async def _until(self, when_s):
        await asyncio.sleep(when_s - self.now_s)

    async def _tick(self, every_s=0.01):
        while True:
            began_s = self.now_s
            await asyncio.sleep(every_s)
            self.late_s = max(self.late_s, self.now_s - began_s - every_s)

    async def _event(self, when_s, what):
        if callable(when_s):
            while not when_s(self):  # noqa: ASYNC110 - it depends on what is recorded
                await asyncio.sleep(0.01)
        else:
            await self._until(when_s)
        began_s = self.now_s
        await asyncio.to_thread(what)
        self.events_s.append((began_s, self.now_s))

    async def _call(self, number):
        began_s = self.now_s
        method = self._methods[number % len(self._methods)]
        body = f"parcel {number}".encode() if method == "POST" else None
        instance, attempts, failure = "", 0, ""
        try:
            response = await self._client.request(method, self._url, content=body)
            info = response.extensions["trimtab"]
            instance, attempts = info.instance.id, info.attempts
            if not response.is_success:
                failure = str(response.status_code)
            elif body is not None and response.content != body:
                failure = f"answered {response.content!r}"
        except Exception as error:  # noqa: BLE001 - every failed call is a finding
            failure = f"{type(error).__name__}: {error}"
        self.done.append(Done(began_s, self.now_s, instance, attempts, failure, method))


def failures(done):
    """What went wrong, and when."""
    return [(round(call.began_s, 2), call.failure) for call in done if call.failure]


def share(done, instance, from_s, to_s):
    """The share of an instance among the calls that began in a window."""
    counts = Counter(call.instance for call in done if from_s <= call.began_s < to_s)
    return counts[instance] / max(1, counts.total())


def first_window(done, instance, from_s, to_s, condition, *, window_s=0.5, step_s=0.1):
    """How long after `from_s` a window begins, of which the instance's share meets a condition."""
    at = from_s
    while at + window_s <= to_s:
        if condition(share(done, instance, at, at + window_s)):
            return at - from_s
        at += step_s
    return None


def table(done, every_s=1.0):
    """Shares over time, as text."""
    names = sorted({call.instance for call in done if call.instance})
    end_s = max(call.began_s for call in done)
    lines = ["   from   calls  failed  " + "".join(f"{name:>8}" for name in names)]
    at = 0.0
    while at <= end_s:
        calls = [call for call in done if at <= call.began_s < at + every_s]
        shares = "".join(f"{share(calls, name, at, at + every_s):8.1%}" for name in names)
        lines.append(f"{at:6.1f} s {len(calls):6d}  {len(failures(calls)):6d}  {shares}")
        at += every_s
    return "\n".join(lines)
