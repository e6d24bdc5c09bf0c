"""The running registry: catalog and agent, with their store, waiting queries, probes and time.

One event loop owns it. Handlers change the catalog or the agent and call `commit` with no await
in between, so other requests see either the whole change or none of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trimtab.errors import ConfigurationError
from trimtab.server.agent import Agent
from trimtab.server.blocking import Bodies, Waiters
from trimtab.server.catalog import Catalog
from trimtab.server.decoding import Refusal
from trimtab.server.prober import Prober
from trimtab.server.records import Check, Node
from trimtab.server.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    import msgspec

    from trimtab.probing import ProbeResult
    from trimtab.server.definitions import CheckDefinition
    from trimtab.server.store import Record, Saved

__all__ = ["RegistryState", "Settings"]

_log = logging.getLogger("trimtab.server")
_LONGEST_STOP_MS = 1000
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of an embedded registry, with their defaults.

    Attributes:
        data_dir: the directory for the state; None keeps it in memory only.
        token: the token that clients must send; None: requests need no token.
        enable_script_checks: clients may register commands that this machine then runs. Every
            client that may register can then do anything that the registry's user can.
        node_name: the name of the registry's own node, under which instances are listed.
        node_address: the node's address, also used for instances that have none.
        datacenter: the name of the only datacenter; a query for another is refused.
        max_body_bytes: the largest request body taken; more is refused with 413.
        max_waiting: how many blocking queries may wait at once; more are refused with 429.
    """

    data_dir: str | Path | None = None
    token: str | None = None
    enable_script_checks: bool = False
    node_name: str = "trimtab"
    node_address: str = "127.0.0.1"
    datacenter: str = "dc1"
    max_body_bytes: int = 1 << 20
    max_waiting: int = 10_000

    def __post_init__(self) -> None:
        if self.token is not None and not self.token:
            raise ConfigurationError("registry token is empty; leave it out to require no token")
        for name in ("node_name", "node_address", "datacenter"):
            if not getattr(self, name):
                raise ConfigurationError(f"registry {name} is empty; give it a name")
        for name in ("max_body_bytes", "max_waiting"):
            if getattr(self, name) < 1:
                raise ConfigurationError(
                    f"registry {name} is {getattr(self, name)}; it must be 1 or more"
                )

    @property
    def directory(self) -> Path | None:
        """The data directory as a path."""
        return None if self.data_dir is None else Path(self.data_dir)


class RegistryState:
    """Everything a handler needs. Made, used and closed inside one running event loop."""

    def __init__(self, settings: Settings, rng: random.Random | None = None) -> None:
        self.settings = settings
        self.rng = rng or random.Random()
        self.waiters = Waiters(settings.max_waiting)
        self._loop = asyncio.get_running_loop()
        self._store = Store(settings.directory)
        self._prober = Prober(self._probed, self.rng)
        self._timer: asyncio.TimerHandle | None = None
        self._checkpoint: asyncio.Task[None] | None = None
        try:
            self._restore()
        except BaseException:
            self._store.close()
            raise

    @property
    def now(self) -> float:
        """The time on the loop's clock, seconds."""
        return self._loop.time()

    def commit(self) -> None:
        """Write what changed, then wake the queries that wait for it. Cheap if nothing changed.

        Raises:
            Refusal: 500, the write failed. The change holds in memory, and is written together with
                the next one.
        """
        changes = self.catalog.take_changes()
        failure = self._write(changes.records) if changes.records else None
        self.waiters.wake(changes.topics)
        for (table, _, check_id), record in changes.records.items():
            if table == "definitions":
                self._prober.set(check_id, record)  # type: ignore[arg-type]
        self._arm()
        if failure:
            raise Refusal(500, f"The registry cannot write its state: {failure}")

    async def settle(self) -> None:
        """After a restart, find out which instances have died, before any client asks.

        Waits at most a second; checks that hang are settled later. An instance that sends
        heartbeats has a whole TTL for the next one.
        """
        await self._prober.settled(timeout_s=_SETTLE_S)

    async def aclose(self) -> None:
        """Stop timers and probes, answer waiting queries, close the store."""
        self.waiters.close()
        if self._timer:
            self._timer.cancel()
        await self._prober.aclose()
        if self._checkpoint:
            await self._checkpoint
        self._store.close()

    def _restore(self) -> None:
        saved, name = self._store.load(), self.settings.node_name
        self.catalog = Catalog(saved.last_index)
        self.catalog.restore(saved.nodes, saved.services, saved.checks)
        self.bodies = Bodies(self.catalog)
        self._rename_own_node(saved)
        self._ensure_own_node()
        self._place_external_nodes()
        self.agent = Agent(
            self.catalog, name, enable_script_checks=self.settings.enable_script_checks
        )
        self.agent.restore(saved.definitions, self.now)
        for definition in self.agent.definitions.values():
            self._start_probe(definition)
        try:
            self.commit()
            self._store.set_node_name(name)
        except Refusal as refusal:
            raise ConfigurationError(f"{self.settings.data_dir}: {refusal.text}") from None
        except sqlite3.Error as error:
            raise ConfigurationError(f"{self.settings.data_dir}: {error}") from None

    def _rename_own_node(self, saved: Saved) -> None:
        """Move the own node's instances to its new name, if it has another than before."""
        old, new = saved.node_name, self.settings.node_name
        if old in {"", new} or old not in self.catalog.nodes:
            return
        if new in self.catalog.nodes:
            raise ConfigurationError(
                f"node_name {new!r} is an external node in {self.settings.data_dir}; choose "
                f"another name, or start as {old!r} and deregister that node first"
            )
        self.catalog.rename_node(old, new)
        for definition in saved.definitions:
            self.catalog.note("definitions", (old, definition.check_id), None)
            self.catalog.note("definitions", (new, definition.check_id), definition)
        _log.warning("the registry's node %r is now named %r, with its instances", old, new)

    def _place_external_nodes(self) -> None:
        """Put external nodes into the present datacenter: there is only one."""
        for node in list(self.catalog.nodes.values()):
            self.catalog.put_node(replace(node, datacenter=self.settings.datacenter))

    def _start_probe(self, definition: CheckDefinition) -> None:
        if definition.type != "script" or self.settings.enable_script_checks:
            self._prober.set(definition.check_id, definition, restored=True)

    def _ensure_own_node(self) -> None:
        name, address = self.settings.node_name, self.settings.node_address
        known = self.catalog.nodes.get(name)
        tagged = {
            f"{side}{family}": address for side in ("lan", "wan") for family in _families(address)
        }
        self.catalog.put_node(
            Node(
                id=known.id if known else str(uuid.UUID(int=self.rng.getrandbits(128), version=4)),
                node=name,
                address=address,
                datacenter=self.settings.datacenter,
                tagged_addresses=tagged,
                meta={"consul-network-segment": ""},
            )
        )
        self.catalog.put_check(
            Check(
                node=name,
                check_id="serfHealth",
                name="Serf Health Status",
                status="passing",
                output="Agent alive and reachable",
            )
        )

    def _write(self, records: Mapping[Record, msgspec.Struct | None]) -> sqlite3.Error | None:
        try:
            self._store.save(records, self.catalog.indexes.last)
        except sqlite3.Error as error:
            _log.error("the registry cannot write its state: %s", error)
            return error
        if self._store.log_is_long():
            self._shorten_log()
        return None

    def _shorten_log(self) -> None:
        if self._checkpoint is None or self._checkpoint.done():
            self._checkpoint = asyncio.create_task(self._checkpointed())
        elif self._store.log_is_too_long():
            # The thread does not keep up: changes must wait for it, or the log has no bound.
            self._empty_log(wait_ms=_LONGEST_STOP_MS)

    async def _checkpointed(self) -> None:
        try:
            await asyncio.to_thread(self._store.checkpoint)
        except sqlite3.Error as error:
            _log.error("the registry cannot shorten its log: %s", error)
        else:
            self._empty_log()

    def _empty_log(self, *, wait_ms: int = 0) -> None:
        try:
            self._store.empty_log(wait_ms=wait_ms)
        except sqlite3.Error as error:
            _log.error("the registry cannot shorten its log: %s", error)

    def _probed(self, check_id: str, result: ProbeResult) -> None:
        self.agent.probed(check_id, result.status.value, result.output, now=self.now)
        self._commit_quietly()

    def _arm(self) -> None:
        at = self.agent.next_at()
        if self._timer is not None and (at is None or at < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and at is not None:
            self._timer = self._loop.call_at(at, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        for service_id in self.agent.expire(self.now):
            _log.warning("instance %r was critical for too long and is removed", service_id)
        self._commit_quietly()

    def _commit_quietly(self) -> None:
        # A failure to write is logged already, and the next change writes it too.
        with contextlib.suppress(Refusal):
            self.commit()


def _families(address: str) -> tuple[str, ...]:
    if ":" in address:
        return ("", "_ipv6")
    return ("", "_ipv4") if address[:1].isdigit() else ("",)
