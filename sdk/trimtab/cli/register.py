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
from trimtab.cli.inputs import LOCAL, Positive, Seconds, Source, read_address, read_pairs
from trimtab.errors import ConfigurationError, TrimtabError
from trimtab.hiding import shown
from trimtab.instance import Instance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
    from typing import Any

    from trimtab.registration import Registration

__all__ = ["Child", "register"]

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STOP_TIMEOUT_S = 10.0
_TRY_EVERY_S = 0.05


async def register(
    service: str,
    address: str,
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    ttl_s: Annotated[Seconds, Parameter(name="--ttl")] = 10.0,
    weight: float = 1.0,
    zone: Annotated[str, Parameter(show_default=False)] = "",
    scheme: str | None = None,
    id_: Annotated[str, Parameter(name="--id", show_default=False)] = "",
    meta: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    ready_timeout_s: Annotated[Seconds, Parameter(name="--ready-timeout")] = 30.0,
    check: str | None = None,
    check_interval_s: Annotated[Seconds, Parameter(name="--check-interval")] = 5.0,
    check_timeout_s: Annotated[Seconds, Parameter(name="--check-timeout")] = 2.0,
    rise: Positive = 2,
    fall: Positive = 3,
    source: Source = LOCAL,
) -> int:
    """Register an instance, send heartbeats, and deregister it at the end.

    Without a command it runs until SIGINT or SIGTERM. With a command, it starts the command,
    registers the instance once its address accepts connections, deregisters it, and only then
    stops the command. The exit code is the command's.

    ```
    trimtab register orders 127.0.0.1:8080 --zone a --meta version=7
    trimtab register orders 127.0.0.1:8080 -- python -m http.server 8080
    trimtab register orders 127.0.0.1:8080 --check http:/health
    ```

    Args:
        service: The service's name.
        address: HOST:PORT where clients reach the instance.
        command: A command to run, after `--`.
        ttl_s: Seconds without a heartbeat after which the registry drops the instance.
        weight: Its share relative to the others; 0 means no traffic.
        zone: Its failure domain.
        scheme: http or https; by default clients choose.
        id_: Its id in the registry; HOST:PORT by default.
        meta: KEY=VALUE; may be repeated.
        ready_timeout_s: How long a command may take until it accepts connections, in seconds.
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
        metadata=read_pairs(meta),
    )
    own_check = check and Check.parse(
        check, interval_s=check_interval_s, timeout_s=check_timeout_s, rise=rise, fall=fall
    )
    lease = trimtab.registration.register(
        source.registry, service, instance, ttl_s=ttl_s, check=own_check or None
    )
    with shown_log(), _stop_signals() as stop:
        if not command:
            async with _registered(lease, source.registry):
                await stop.wait()
            return DONE
        async with Child(command) as child:
            if await child.accepts(instance, stop, timeout_s=ready_timeout_s):
                async with _registered(lease, source.registry):
                    await child.ended_or(stop)
        return child.code


@asynccontextmanager
async def _registered(lease: Registration, registry: str) -> AsyncIterator[None]:
    """Keep the instance registered for a block, and print a line when it is."""
    async with lease:
        name = f"{lease.instance.id} ({lease.instance.address})"
        print(f"Registered {name} as {lease.service} at {shown(registry)}", flush=True)
        yield


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """Yield an event that SIGINT and SIGTERM set."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for each in _STOP_SIGNALS:
        loop.add_signal_handler(each, stop.set)
    try:
        yield stop
    finally:
        for each in _STOP_SIGNALS:
            loop.remove_signal_handler(each)


class Child:
    """A child process; leaving the block stops it, by SIGTERM and after ten seconds by SIGKILL."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
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
                while not stop.is_set() and self._running.returncode is None:
                    if await _is_open(instance):
                        return True
                    await asyncio.sleep(_TRY_EVERY_S)
                return False
        raise TrimtabError(
            f"{self._command[0]!r} does not accept connections at {instance.address} after "
            f"{timeout_s:g} s; check the address, or raise --ready-timeout"
        )

    async def ended_or(self, stop: asyncio.Event) -> None:
        """Wait until the child has ended, or `stop` is set."""
        await _first_of(self._running.wait(), stop.wait())

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
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._running.wait()
        except TimeoutError:
            self._running.kill()
            await self._running.wait()


async def _is_open(instance: Instance) -> bool:
    try:
        _, writer = await asyncio.open_connection(instance.host, instance.port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


async def _first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(each) for each in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
