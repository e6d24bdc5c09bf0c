"""A client's own probes against real sockets: a refusal, a black hole, a return, a clean end."""

import asyncio
from contextlib import suppress
from random import Random

from trimtab import Instance
from trimtab.balancing.probes import ProbeRunner
from trimtab.check import Check
from trimtab.health.probing import ProbeSettings

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
