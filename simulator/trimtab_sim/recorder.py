"""Record a run, in memory that does not grow with the number of requests."""

from __future__ import annotations

import hashlib
from array import array
from enum import IntEnum
from typing import TYPE_CHECKING

from trimtab_sim.sketches import Quantiles

if TYPE_CHECKING:
    from typing import TextIO

    from trimtab_sim.world.servers import Server

__all__ = ["BINS", "Outcome", "Recorder"]

BINS = 240
"""The number of intervals of time into which a run is cut."""
_CHUNK = 8192


class Outcome(IntEnum):
    """How a request ended, for its caller."""

    OK = 0
    STATUS = 1
    """Answered with 4xx or 5xx."""
    REFUSED = 2
    BROKEN = 3
    TIMEOUT = 4
    NO_INSTANCE = 5
    """No instance could be picked."""
    NO_LIST = 6
    """The first list did not come in time."""


class Recorder:
    """Counts, quantiles, bins of time, and a digest of the whole trace.

    Figures of requests are those of requests that *began* after the warm-up. Bins, the digest and
    the checks concern all.

    Attributes:
        latency: seconds from a request's beginning to its end, of those that succeeded.
        failed_latency: the same of those that failed.
        outcomes: requests by `Outcome`.
        attempts, retries: attempts in all; those after a request's first.
        most_attempts: the most that one request made.
        in_flight: requests begun and not ended.
        begun, ended: requests, warm-up included.
        sent: attempts per server and bin; by the server's index.
        good, bad: requests that succeeded and failed, per bin of their end.
        spent: the sum of the seconds that the good ones of a bin took.
        unsent: requests that ended without any attempt.
        late_sends: attempts sent to a server that was not alive.
    """

    def __init__(self, *, duration: float, warmup: float, trace: TextIO | None = None) -> None:
        self.duration = duration
        self.warmup = warmup
        self.latency = Quantiles()
        self.failed_latency = Quantiles()
        self.outcomes = [0] * len(Outcome)
        self.attempts = self.retries = 0
        self.most_attempts = 1
        self.in_flight = 0
        self.begun = self.ended = 0
        self.sent: list[list[int]] = []
        self.good = [0] * (BINS + 1)
        self.bad = [0] * (BINS + 1)
        self.spent = [0.0] * (BINS + 1)
        self.unsent = 0
        self.late_sends = 0
        self._trace = trace
        self._span = duration
        self._per_s = BINS / duration
        self._area = 0.0
        self._sojourn = 0.0
        self._last = 0.0
        self._rows = array("d")
        self._hash = hashlib.blake2b(digest_size=16)

    def begin(self, now: float) -> None:
        """Note that a request begins."""
        self._area += self.in_flight * (now - self._last)
        self._last = now
        self.in_flight += 1
        self.begun += 1

    def send(self, server: Server, attempt: int, now: float) -> None:
        """Note that an attempt is sent to a server."""
        self.attempts += 1
        if attempt:
            self.retries += 1
            self.most_attempts = max(self.most_attempts, attempt + 1)
        sent = self.sent
        index = server.place.index
        while index >= len(sent):
            sent.append([0] * (BINS + 1))
        sent[index][int(now * self._per_s) if now < self._span else BINS] += 1
        if not server.is_alive:
            self.late_sends += 1
            server.last_sent_at = now

    def end(self, request: int, started: float, now: float, outcome: Outcome, server: int) -> None:
        """Note that a request ends; `server` is the index of the last one tried, or -1."""
        self._area += self.in_flight * (now - self._last)
        self._last = now
        self.in_flight -= 1
        self.ended += 1
        took = now - started
        self._sojourn += took
        place = int(now * self._per_s) if now < self._span else BINS
        if outcome:
            self.bad[place] += 1
            if server < 0:
                self.unsent += 1
        else:
            self.good[place] += 1
            self.spent[place] += took
        if started >= self.warmup:
            self.outcomes[outcome] += 1
            if outcome:
                self.failed_latency.add(took)
            else:
                self.latency.add(took)
        rows = self._rows
        rows.extend((now, started, request, server * 8.0 + outcome))
        if len(rows) >= _CHUNK:
            self._fold()

    def digest(self) -> str:
        """Return a hash of every request's beginning, end, outcome and server, in order of end."""
        self._fold()
        return self._hash.hexdigest()

    def little(self, now: float) -> tuple[float, float]:
        """Return both sides of Little's law over the whole run, in request-seconds.

        The time integral of the requests in flight, and the sum of the times that ended requests
        took. They are equal up to rounding, unless a request was counted twice or not at all;
        with requests still in flight the second lacks their part.
        """
        return self._area + self.in_flight * (now - self._last), self._sojourn

    def _fold(self) -> None:
        if self._rows:
            self._hash.update(self._rows.tobytes())
            if self._trace is not None:
                self._write(self._trace)
            del self._rows[:]

    def _write(self, trace: TextIO) -> None:
        rows = self._rows
        for place in range(0, len(rows), 4):
            now, started, request, code = rows[place : place + 4]
            server, outcome = divmod(int(code), 8)
            trace.write(
                f'{{"request":{int(request)},"started":{started!r},"ended":{now!r},'
                f'"outcome":"{Outcome(outcome).name.lower()}","server":{server}}}\n'
            )
