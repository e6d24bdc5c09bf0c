"""`trimtab register`: keep an instance registered for as long as this command, or a child, runs."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import trimtab.registration
from trimtab.check import Check
from trimtab.cli.child import Child
from trimtab.cli.ending import DONE
from trimtab.cli.inputs import read_address, read_pairs
from trimtab.cli.log import shown_log
from trimtab.cli.options import LOCAL, Positive, Seconds, Source
from trimtab.hiding import shown
from trimtab.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["register"]

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    """Register an instance, keep it alive by heartbeats, and deregister it at the end.

    Without a command it runs until SIGINT or SIGTERM. With one, the command is started, its
    instance is registered once the address accepts connections, and deregistered before the
    command is told to stop; the exit code is the command's.

    ```
    trimtab register orders 127.0.0.1:8080 --zone a --meta version=7
    trimtab register orders 127.0.0.1:8080 -- python -m http.server 8080
    trimtab register orders 127.0.0.1:8080 --check http:/health
    ```

    Args:
        service: The service's name.
        address: HOST:PORT where clients reach the instance.
        command: A command to run, after `--`.
        ttl_s: Seconds after which the registry gives up on a silent instance.
        weight: Its share relative to the others; 0 means no traffic.
        zone: The failure domain that it lies in.
        scheme: http or https, if clients shall not choose.
        id_: Its identity in the registry; HOST:PORT by default.
        meta: KEY=VALUE, as often as wanted.
        ready_timeout_s: Seconds that a command may take until it accepts connections.
        check: How to find out whether it is well: http:/PATH, tcp or "script:COMMAND". The
            registry checks it where it can, else this command does.
        check_interval_s: Seconds between checks.
        check_timeout_s: Seconds after which a check has failed.
        rise: How many checks in a row must pass until it is called passing.
        fall: How many checks in a row must fail until it is called critical.
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
            async with lease:
                _say(service, instance, source.registry)
                await stop.wait()
            return DONE
        async with Child(command) as child:
            if await child.accepts(instance, stop, timeout_s=ready_timeout_s):
                async with lease:
                    _say(service, instance, source.registry)
                    await child.ended_or(stop)
        return child.code


def _say(service: str, instance: Instance, registry: str) -> None:
    print(
        f"Registered {instance.id} ({instance.address}) as {service} at {shown(registry)}",
        flush=True,
    )


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """Give an event that SIGINT and SIGTERM set."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for each in _STOP_SIGNALS:
        loop.add_signal_handler(each, stop.set)
    try:
        yield stop
    finally:
        for each in _STOP_SIGNALS:
            loop.remove_signal_handler(each)
