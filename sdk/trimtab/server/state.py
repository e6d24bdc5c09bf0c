"""The running registry: catalog and agent, with their store, waiting queries, probes and time.

One event loop owns it; handlers change the catalog or the agent and call `commit`, with no
await between, so that every change is whole to whoever looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
import uuid
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError
from trimtab.server.agent import Agent
from trimtab.server.blocking import Waiters
from trimtab.server.bodies import Bodies
from trimtab.server.catalog import Catalog
from trimtab.server.prober import Prober
from trimtab.server.records import Check, Node
from trimtab.server.refusals import Refusal
from trimtab.server.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    import msgspec

    from trimtab.probing import ProbeResult
    from trimtab.server.definitions import CheckDefinition
    from trimtab.server.settings import Settings
    from trimtab.server.store import Record

__all__ = ["RegistryState"]

_log = logging.getLogger("trimtab.server")


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
        """Write what changed, then wake who waits for it. Cheap when nothing changed.

        Raises:
            Refusal: 500, it could not be written; it holds in memory, and is written with
                the next change that can be.
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

    async def aclose(self) -> None:
        """Stop timers and probes, let waiting queries go, close the store."""
        self.waiters.close()
        if self._timer:
            self._timer.cancel()
        await self._prober.aclose()
        if self._checkpoint:
            await self._checkpoint
        self._store.close()

    def _restore(self) -> None:
        saved = self._store.load()
        self.catalog = Catalog(saved.last_index)
        self.catalog.restore(saved.nodes, saved.services, saved.checks)
        self.bodies = Bodies(self.catalog)
        self._ensure_own_node()
        name = self.settings.node_name
        self.agent = Agent(
            self.catalog, name, enable_script_checks=self.settings.enable_script_checks
        )
        self.agent.restore(saved.definitions, self.now)
        for definition in saved.definitions:
            self._start_probe(definition)
        try:
            self.commit()
        except Refusal as refusal:
            raise ConfigurationError(f"{self.settings.data_dir}: {refusal.text}") from None

    def _start_probe(self, definition: CheckDefinition) -> None:
        if definition.type != "script" or self.settings.enable_script_checks:
            self._prober.set(definition.check_id, definition)

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
        if self._store.wants_checkpoint() and (self._checkpoint is None or self._checkpoint.done()):
            self._checkpoint = asyncio.create_task(asyncio.to_thread(self._store.checkpoint))
        return None

    def _probed(self, check_id: str, result: ProbeResult) -> None:
        self.agent.probed(check_id, result.status.value, result.output, now=self.now)
        self._commit_unasked()

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
        self._commit_unasked()

    def _commit_unasked(self) -> None:
        # A failure to write is logged already, and the next change writes it too.
        with contextlib.suppress(Refusal):
            self.commit()


def _families(address: str) -> tuple[str, ...]:
    if ":" in address:
        return ("", "_ipv6")
    return ("", "_ipv4") if address[:1].isdigit() else ("",)
