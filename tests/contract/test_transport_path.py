"""The way of a warm request through our code, counted in functions: it stays short."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import trimtab
from transport_kit import FLAVOURS, HttpServer, every, listing

ROOT = str(Path(trimtab.__file__).parent)
WHO = "http://orders/who"
MOST_CALLS, MOST_FILES = 45, 12

# Three were wanted. Each of these five hears of a request at its begin, at its head or at its end,
# and lies beside what decides on the step in between:
# * delivery and request are the request itself, and take all three events;
# * member counts a request as in flight from its pick to its end, and learns from its answer;
# * http/inner makes the response with the body that ends it later. A file of its own for bodies
#   would still be entered twice, when the body is made and when it is read, and would be a 13th;
# * transports/connections counts users from the first to the last byte. A pick is no such count: a
#   hedge that lost, or a request that is past its deadline, has given its pick back while it still
#   uses its connection, which must not be closed before.
MOST_FILES_ENTERED_AGAIN = 5


@pytest.fixture(scope="module")
def kit():
    with HttpServer("a") as a, HttpServer("b") as b:
        yield SimpleNamespace(a=a, b=b)


class Trail:
    """Records each function of ours that is entered; a coroutine that goes on does not count."""

    def __init__(self):
        self.files, self._frames = [], []
        self._seen = set()

    def __call__(self, frame, event, _argument):
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(ROOT) and id(frame) not in self._seen:
            self._seen.add(id(frame))
            self._frames.append(frame)  # so that no other frame gets its id
            self.files.append(file.removeprefix(ROOT))

    def entered_again(self):
        """The files that were left and entered again."""
        visits = [file for number, file in enumerate(self.files) if self.files[number - 1] != file]
        return {file for file in visits if visits.count(file) > 1}


def _warm(transport):
    """The instances whose connection is open."""
    services = transport.statistics().values()
    return [each for figures in services for each in figures.members.values() if each.picks > 2]


@every(FLAVOURS)
async def test_a_warm_get_passes_few_functions_in_few_files(flavour, kit):
    transport = flavour.transport(listing(kit.a.instance(), kit.b.instance()))
    async with flavour.client(transport) as client:
        while len(_warm(transport)) < 2:
            await client.get(WHO)
        trails = []
        # Finalizers of what other tests left would be counted, too.
        gc.collect()
        gc.disable()
        try:
            for _ in range(9):
                trails.append(Trail())
                sys.setprofile(trails[-1])
                await client.get(WHO)
                sys.setprofile(None)
        finally:
            sys.setprofile(None)
            gc.enable()
    # The latencies decide whether one more function is asked; the usual way counts.
    path = sorted(trails, key=lambda trail: len(trail.files))[4]
    print(f"\n{len(path.files)} calls, {len(set(path.files))} files, {path.entered_again()}")
    assert len(path.files) <= MOST_CALLS
    assert len(set(path.files)) <= MOST_FILES
    assert len(path.entered_again()) <= MOST_FILES_ENTERED_AGAIN
