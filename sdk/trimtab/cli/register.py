"""`trimtab register`: keep an instance registered for as long as this command, or a child, runs."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Self

from cyclopts import Parameter

import trimtab.registration
from trimtab.check import Check
from trimtab.cli.ending import DONE, shown_log
from trimtab.cli.inputs import LOCAL, FromZero, Positive, Seconds, Source, read_address, read_pairs
from trimtab.errors import ConfigurationError, TrimtabError
from trimtab.hiding import shown
from trimtab.instance import Instance
from trimtab.registration.servers import accepting, passing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
    from typing import Any

    from trimtab.registration import Registration

__all__ = ["Child", "register"]

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def register(
    service: str,
    address: str,
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    ttl_s: Annotated[Seconds, Parameter(name="--ttl")] = 10.0,
    weight: float = 1.0,
    zone: Annotated[str, Parameter(show_default=False)] = "",
    priority: int = 0,
    scheme: str | None = None,
    id_: Annotated[str, Parameter(name="--id", show_default=False)] = "",
    meta: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    ready_timeout_s: Annotated[Seconds, Parameter(name="--ready-timeout")] = 30.0,
    drain_s: Annotated[FromZero, Parameter(name="--drain")] = 0.0,
    stop_timeout_s: Annotated[Seconds, Parameter(name="--stop-timeout")] = 30.0,
    check: str | None = None,
    check_interval_s: Annotated[Seconds, Parameter(name="--check-interval")] = 5.0,
    check_timeout_s: Annotated[Seconds, Parameter(name="--check-timeout")] = 2.0,
    rise: Positive = 2,
    fall: Positive = 3,
    source: Source = LOCAL,
) -> int:
    """Register an instance, send heartbeats, and deregister it at the end.

    Without a command it runs until SIGINT or SIGTERM. With a command, it starts the command,
    registers the instance once its address accepts connections and its check passes, deregisters
    it, waits for --drain, and only then stops the command by SIGTERM. A second signal ends the
    waiting. The exit code is the command's.

    ```
    trimtab register orders 127.0.0.1:8080 --zone a --meta version=7
    trimtab register orders 127.0.0.1:8080 -- python -m http.server 8080
    trimtab register orders 127.0.0.1:8080 --check http:/health
    trimtab register orders 10.0.0.7:8080 --drain 5s -- gunicorn -b 0.0.0.0:8080 shop:app
    ```

    Args:
        service: The service's name.
        address: HOST:PORT where clients reach the instance.
        command: A command to run, after `--`.
        ttl_s: Seconds without a heartbeat after which the registry drops the instance.
        weight: Its share relative to the others; 0 means no traffic.
        zone: Its failure domain.
        priority: Its tier, 0 to 127; a higher number gets what those below it cannot carry.
        scheme: http or https; by default clients choose.
        id_: Its id in the registry; HOST:PORT by default.
        meta: KEY=VALUE; may be repeated.
        ready_timeout_s: How long a command may take until it accepts connections, in seconds.
        drain_s: How long the command serves on after it was deregistered, so that clients notice:
            a little over their poll interval, or a round trip if they watch.
        stop_timeout_s: How long the command may take to end after SIGTERM; then it is killed.
        check: How to find out whether it is healthy: http:/PATH, tcp or "script:COMMAND". The
            registry runs the check if it can, else this command does.
        check_interval_s: Seconds between checks.
        check_timeout_s: Seconds after which a check has failed.
        rise: How many checks in a row must pass before its status is passing.
        fall: How many checks in a row must fail before its status is critical.
        source: The registry.
    """
    host, port = read_address(address)
    instance = Instance(
        host=host,
        port=port,
        id=id_,
        scheme=scheme,
        weight=weight,
        zone=zone,
        priority=priority,
        metadata=read_pairs(meta),
    )
    own_check = check and Check.parse(
        check, interval_s=check_interval_s, timeout_s=check_timeout_s, rise=rise, fall=fall
    )
    lease = trimtab.registration.register(
        source.registry, service, instance, ttl_s=ttl_s, check=own_check or None
    )
    with shown_log(), _stop_signals() as (stop, hurry):
        if not command:
            async with _registered(lease, source.registry):
                await stop.wait()
            await _first_of(hurry.wait(), asyncio.sleep(drain_s))
            return DONE
        async with Child(command, stop_timeout_s=stop_timeout_s) as child:
            if await child.accepts(instance, stop, timeout_s=ready_timeout_s):
                if own_check:
                    await child.passes(own_check, instance, stop, timeout_s=ready_timeout_s)
                async with _registered(lease, source.registry):
                    await child.ended_or(stop.wait())
                await child.ended_or(hurry.wait(), asyncio.sleep(drain_s))
        return child.code


@asynccontextmanager
async def _registered(lease: Registration, registry: str) -> AsyncIterator[None]:
    """Keep the instance registered for a block, and print a line when it is."""
    async with lease:
        name = f"{lease.instance.id} ({lease.instance.address})"
        print(f"Registered {name} as {lease.service} at {shown(registry)}", flush=True)
        yield


@contextmanager
def _stop_signals() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Yield two events: SIGINT and SIGTERM set the first, and when they come again the second."""
    loop, stop, hurry = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def note() -> None:
        (hurry if stop.is_set() else stop).set()

    for each in _STOP_SIGNALS:
        loop.add_signal_handler(each, note)
    try:
        yield stop, hurry
    finally:
        for each in _STOP_SIGNALS:
            loop.remove_signal_handler(each)


class Child:
    """A child process; leaving the block stops it, by SIGTERM and after a time-out by SIGKILL."""

    def __init__(self, command: Sequence[str], *, stop_timeout_s: float = 10.0) -> None:
        self._command = command
        self._stop_timeout_s = stop_timeout_s
        self._process: asyncio.subprocess.Process | None = None

    @property
    def code(self) -> int:
        """Its exit code; 128 plus the signal's number if a signal ended it, as in a shell."""
        code = self._running.returncode or 0
        return code if code >= 0 else 128 - code

    async def accepts(self, instance: Instance, stop: asyncio.Event, *, timeout_s: float) -> bool:
        """Wait until its address accepts connections; False if it or `stop` ends that.

        Raises:
            TrimtabError: it does not within `timeout_s`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.ended_or(stop.wait(), accepting(instance))
                return self._running.returncode is None and not stop.is_set()
        raise TrimtabError(
            f"{self._command[0]!r} does not accept connections at {instance.address} after "
            f"{timeout_s:g} s; check the address, or raise --ready-timeout"
        )

    async def passes(
        self, check: Check, instance: Instance, stop: asyncio.Event, *, timeout_s: float
    ) -> None:
        """Wait until a check passes, or `timeout_s`; then it is registered as it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.ended_or(stop.wait(), passing(check, instance))

    async def ended_or(self, *waits: Coroutine[Any, Any, Any]) -> None:
        """Wait until the child has ended, or one of `waits` has."""
        await _first_of(self._running.wait(), *waits)

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def __aenter__(self) -> Self:
        try:
            # Ctrl-C on a terminal goes to the whole process group, but the child must stop only
            # after it was deregistered.
            self._process = await asyncio.create_subprocess_exec(
                *self._command, start_new_session=True
            )
        except OSError as error:
            raise ConfigurationError(
                f"command {self._command[0]!r} cannot be started: {error.strerror}"
            ) from None
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._running.returncode is None:
            self._running.terminate()
        try:
            async with asyncio.timeout(self._stop_timeout_s):
                await self._running.wait()
        except TimeoutError:
            self._running.kill()
            await self._running.wait()


async def _first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
