"""A client's own probes against real sockets: a refusal, a black hole, a return, a clean end."""

import asyncio
from contextlib import suppress
from random import Random

import httpx
import pytest

from trimtab import BalancedTransport, DiscoverySettings, Instance
from trimtab.balancing.probes import ProbeRunner
from trimtab.check import Check
from trimtab.health.probing import ProbeSettings
from trimtab.networks import NetworkPolicy
from trimtab.registries.static import StaticRegistry

CHECK = Check(kind="http", path="/health", interval_s=0.1, timeout_s=0.2, rise=2, fall=2)


class Backend:
    """Answers 200, or takes the connection and is silent."""

    def __init__(self):
        self.is_silent, self.port, self._server, self._open = False, 0, None, []

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._open.append(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if self.is_silent:
                await reader.read()
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def test_what_a_registry_does_not_see_is_seen():
    async def main():
        backends = [Backend() for _ in range(3)]
        for each in backends:
            await each.start()
        members = [Instance(host="127.0.0.1", port=each.port) for each in backends]
        well = {each.id: True for each in members}
        reasons, judged = {}, asyncio.Event()

        def judge(id_, ok, now, why):
            well[id_] = ok
            reasons[id_] = why
            judged.set()

        async def until(*wanted):
            async with asyncio.timeout(20):
                while list(well.values()) != [*wanted]:
                    judged.clear()
                    await judged.wait()

        settings = ProbeSettings(check=CHECK)
        runner = ProbeRunner(settings, members=lambda: members, judge=judge, rng=Random(1))
        running = asyncio.create_task(runner.run())
        await backends[0].stop()
        backends[1].is_silent = True
        await until(False, False, True)
        assert reasons[members[0].id].startswith("ConnectError")
        assert reasons[members[1].id] == "http check timed out after 0.2 s"
        await backends[0].start()
        backends[1].is_silent = False
        await until(True, True, True)
        assert ": 200 OK" in reasons[members[1].id]
        running.cancel()
        await asyncio.wait([running])
        for each in backends:
            await each.stop()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_an_address_that_may_not_be_called_is_not_probed(host, kind):
    """A name is let in by the list; what it resolves to is judged when it is connected to."""

    async def main():
        backend = Backend()
        await backend.start()
        heard, judged = [], asyncio.Event()
        serve = backend._serve

        async def hear(reader, writer):
            heard.append(await reader.read(1))
            await serve(reader, writer)

        backend._serve = hear
        await backend.stop()
        await backend.start()

        told = []

        def judge(id_, ok, now, why):
            told.append((ok, why))
            judged.set()

        runner = ProbeRunner(
            ProbeSettings(check=Check(kind=kind, interval_s=0.05, timeout_s=1.0, fall=2)),
            members=lambda: [Instance(host=host, port=backend.port)],
            judge=judge,
            rng=Random(1),
            refusal_of=NetworkPolicy(["10.0.0.0/8"]).refusal_of,
        )
        task = asyncio.create_task(runner.run())
        async with asyncio.timeout(20):
            await judged.wait()
        task.cancel()
        await asyncio.wait([task])
        await backend.stop()
        return told, heard

    told, heard = asyncio.run(main())
    assert told[0][0] is False
    assert "allow_networks" in told[0][1]
    assert b"".join(heard) == b""


def test_the_probes_of_a_balancer_follow_its_allowed_networks():
    async def main():
        backend, heard = Backend(), []

        async def hear(reader, writer):
            heard.append(await reader.read(1))
            writer.close()

        backend._serve = hear
        await backend.start()
        registry = StaticRegistry([Instance(host="localhost", port=backend.port)])
        probe = ProbeSettings(check=CHECK)
        settings = DiscoverySettings(allow_networks=["10.0.0.0/8"])
        async with BalancedTransport(registry, probe=probe, discovery=settings) as transport:
            async with asyncio.timeout(20):
                with suppress(Exception):
                    async with httpx.AsyncClient(transport=transport) as client:
                        await client.get("http://orders/")
                await asyncio.sleep(1.0)
        await backend.stop()
        return heard

    assert b"".join(asyncio.run(main())) == b""
