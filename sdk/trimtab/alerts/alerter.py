"""The alerter: a listener that takes events, and a task that sends the messages."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections import deque
from math import inf
from random import Random
from typing import TYPE_CHECKING, NoReturn

from trimtab.alerts.digest import AlertSettings, Digest
from trimtab.alerts.senders import name_of, sender_of
from trimtab.background import Block
from trimtab.calls import Backoff
from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from trimtab.alerts.digest import Alert
    from trimtab.alerts.senders import Sender
    from trimtab.events import Event

__all__ = ["Alerter"]

logger = logging.getLogger("trimtab.alerts")

_ATTEMPTS = 3
_PAUSE_S = 1.0
_ATTEMPT_S = 30.0
_CLOSE_S = 10.0
_MOST_EVENTS = 100_000


class Alerter(Block):
    """Sends people messages about faults and recoveries; a `trimtab.events.Listener`.

    Use it with `async with`, or with `with` in synchronous code. It may be called from any thread,
    and never blocks or raises. A task of its own sends the messages, and logs a sender's failure.
    Leaving the block sends the messages that still wait, within 10 s.

    Args:
        senders: URLs (see `trimtab.alerts.senders`) or callables, at least one.
        settings: how events become messages; None: the defaults.
        rng: the source of randomness for the waits between attempts.

    Raises:
        ConfigurationError: there is no sender, or a URL names none.

    Example:
        async with Alerter("mailto://me:secret@example.com") as alerter:
            transport = BalancedTransport("consul://127.0.0.1:8500", listener=alerter)
    """

    def __init__(
        self,
        *senders: str | Sender,
        settings: AlertSettings | None = None,
        rng: Random | None = None,
    ) -> None:
        if not senders:
            raise ConfigurationError("Alerter() has no sender; name one, such as mailto://...")
        self._senders = [sender_of(each) if isinstance(each, str) else each for each in senders]
        self._digest = Digest(settings or AlertSettings())
        self._rng = rng or Random()
        self._inbox: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[NoReturn] | None = None
        self._sending: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        senders = ", ".join(map(name_of, self._senders))
        return f"<{type(self).__name__} {'closed' if self._task is None else 'open'}, to {senders}>"

    def __call__(self, event: Event) -> None:
        """Add an event. May be called from any thread."""
        self._inbox.append(event)
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:
            logger.warning("%s: event dropped: the alerter's event loop is closed", event.service)

    async def start(self) -> None:
        """Start the task that sends."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="trimtab alerter")

    async def stop(self) -> None:
        """Send the messages that still wait, within 10 s, and end. A second call does nothing."""
        if self._task is None:
            return
        task, self._task, self._loop = self._task, None, None
        task.cancel()
        await asyncio.wait([task])
        self._read_inbox()
        self._send(self._digest.flush(asyncio.get_running_loop().time()))
        if not self._sending:
            return
        _, late = await asyncio.wait(self._sending, timeout=_CLOSE_S)
        for each in late:
            each.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> NoReturn:
        time = asyncio.get_running_loop().time
        while True:
            self._wake.clear()
            self._read_inbox()
            self._send(self._digest.take(time()))
            next_at = self._digest.next_at
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_at if next_at < inf else None):
                    await self._wake.wait()

    def _read_inbox(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._inbox:
            event = self._inbox.popleft()
            try:
                self._digest.add(event, now)
            except Exception:
                logger.exception("an event cannot be read: %r", event)

    def _send(self, alerts: list[Alert]) -> None:
        self._sending = [task for task in self._sending if not task.done()]
        for alert in alerts:
            for sender in self._senders:
                task = asyncio.get_running_loop().create_task(self._deliver(sender, alert))
                self._sending.append(task)

    async def _deliver(self, sender: Sender, alert: Alert) -> None:
        backoff = Backoff(self._rng, first_s=_PAUSE_S)
        reason: str | None = "the alerter was closed before it was sent"
        try:
            for attempt in range(_ATTEMPTS):
                if attempt:
                    await asyncio.sleep(backoff.next_s(at_least_s=_PAUSE_S))
                reason = await _attempt(sender, alert)
                if reason is None:
                    return
        finally:
            if reason is not None:
                logger.error("alert not sent by %s: %s; %s", name_of(sender), alert.title, reason)


async def _attempt(sender: Sender, alert: Alert) -> str | None:
    """Send a message; return why that failed, or None."""
    try:
        async with asyncio.timeout(_ATTEMPT_S):
            done = sender(alert)
            if inspect.isawaitable(done):
                await done
    except TimeoutError:
        return f"not sent within {_ATTEMPT_S:g} s"
    except Exception as error:  # noqa: BLE001 - a sender's error must not end the program
        return f"{type(error).__name__}: {error}"
    return None
