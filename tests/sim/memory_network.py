"""A network in memory for httpcore, on the simulated loop: with faults, and counts."""

# ruff: noqa: ASYNC109 - in httpcore's interface the time that a call may take is an argument

from __future__ import annotations

import asyncio

import h11

MOODS = ("answer", "answer", "answer", "answer", "last", "busy", "break", "half")


class Network:
    """Servers at any address; each draws from `rng` how it takes the next connection or request.

    Attributes:
        open: the connections that no client has closed yet.
        refused: how many were refused.
    """

    def __init__(self, core, rng):
        self.core, self.rng = core, rng
        self.open, self.refused = [], 0

    async def connect_tcp(self, host, port, timeout=None, **_options):
        await asyncio.sleep(self.rng.choice([0, 0.001, 0.003]))
        if self.rng.random() < 0.1:
            self.refused += 1
            raise self.core.ConnectError(f"{host}:{port} refuses")
        connection = Connection(self, host, port)
        self.open.append(connection)
        return connection


class Connection:
    """The client's end; the server's answers come by timers, so that it leaves no tasks."""

    def __init__(self, network, host, port):
        self._network, self._peer = network, (host, port)
        self._http = h11.Connection(h11.SERVER)
        self._inbox, self._is_over = b"", False
        self._news = asyncio.Event()

    async def start_tls(self, *_args, **_options):
        await asyncio.sleep(self._network.rng.choice([0, 0.002]))
        return self

    async def write(self, buffer, timeout=None):
        await asyncio.sleep(0)
        if buffer:  # nothing would mean the end to h11
            self._http.receive_data(buffer)
            while not isinstance(event := self._http.next_event(), type):  # more is needed
                if isinstance(event, h11.EndOfMessage):
                    self._answer()
                    return

    async def read(self, max_bytes, timeout=None):
        try:
            async with asyncio.timeout(timeout):
                while not self._inbox and not self._is_over:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise self._network.core.ReadTimeout("no answer") from None
        data, self._inbox = self._inbox[:max_bytes], self._inbox[max_bytes:]
        return data

    async def aclose(self):
        if self in self._network.open:
            self._network.open.remove(self)
        self._is_over = True
        await asyncio.sleep(0)

    def get_extra_info(self, info):
        if info == "server_addr":
            return self._peer
        return self._is_over or bool(self._inbox) if info == "is_readable" else None

    def _answer(self):
        mood, rng = self._network.rng.choice(MOODS), self._network.rng
        if mood == "break":
            self._later(rng.random() / 100, b"", over=True)
            return
        status = 503 if mood == "busy" else 200
        pieces = rng.randrange(1, 4)
        headers = [("content-length", str(pieces + (mood == "half")))]
        if mood == "last":
            headers.append(("connection", "close"))
        at = rng.choice([0, 0.002, 0.02])
        self._later(at, self._http.send(h11.Response(status_code=status, headers=headers)))
        for _ in range(pieces):
            at += rng.choice([0, 0, 0.004])
            self._later(at, self._http.send(h11.Data(b"x")))
        if mood == "half":
            self._later(at, b"", over=True)
            return
        self._later(at, self._http.send(h11.EndOfMessage()), over=mood == "last")
        if mood != "last":
            self._http.start_next_cycle()

    def _later(self, delay_s, data, *, over=False):
        asyncio.get_running_loop().call_later(delay_s, self._arrive, data, over)

    def _arrive(self, data, over):
        self._inbox += data
        self._is_over = self._is_over or over
        self._news.set()
