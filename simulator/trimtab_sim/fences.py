"""What a simulated program must not touch: threads, sockets, processes, the machine's clock.

In virtual time an hour passes in a second. A thread, a socket or a child process lives in real
time, so its answer arrives at no virtual moment in particular: the run would end differently
each time, or never. Each of these doors is shut while a simulation runs, in the thread that
runs it and nowhere else, with an error that names the way round.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trimtab_sim.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Fenced", "fences"]

_THREADS = "call the work directly, or do it before the simulation starts"
_SOCKETS = "give the client a simulated transport or network backend"
_PROCESSES = "start it before the simulation, or put a model of it into the simulation"
_SLEEP = "use `await asyncio.sleep(...)`, which passes virtual time"
_FILES = "virtual time has no file descriptors to wait for; use an asyncio.Queue or Event"
_NAMES = "no names are looked up in virtual time; " + _SOCKETS
_SIGNALS = "handle signals outside the simulation"

_DOORS: tuple[tuple[Any, str, str, str], ...] = (
    (threading.Thread, "start", "start a thread", _THREADS),
    (socket, "create_connection", "open a real connection", _SOCKETS),
    (socket.socket, "connect", "open a real connection", _SOCKETS),
    (socket.socket, "connect_ex", "open a real connection", _SOCKETS),
    (subprocess.Popen, "__init__", "start a process", _PROCESSES),
    (time, "sleep", "sleep in real time", _SLEEP),
)
_NOT_THERE = object()
_lock = threading.Lock()
_state: dict[str, Any] = {"depth": 0, "originals": []}


def _refused(what: str, remedy: str) -> Any:
    """Make a loop method that refuses. `Any`, so that it may stand for any signature."""

    def refuse(self: object, *_args: object, **_kwargs: object) -> None:  # noqa: ARG001 - a method
        raise SimulationError(f"a simulated program cannot {what}: {remedy}")

    return refuse


class Fenced:
    """The loop methods that reach into the real world; each raises SimulationError."""

    run_in_executor: Any = _refused("run work in an executor", _THREADS)
    getaddrinfo: Any = _refused("look up a name", _NAMES)
    getnameinfo: Any = _refused("look up a name", _NAMES)
    create_connection: Any = _refused("open a real connection", _SOCKETS)
    create_datagram_endpoint: Any = _refused("open a real socket", _SOCKETS)
    create_unix_connection: Any = _refused("open a real connection", _SOCKETS)
    create_server: Any = _refused("listen on a real socket", _SOCKETS)
    create_unix_server: Any = _refused("listen on a real socket", _SOCKETS)
    connect_accepted_socket: Any = _refused("use a real socket", _SOCKETS)
    start_tls: Any = _refused("speak TLS on a real socket", _SOCKETS)
    sendfile: Any = _refused("use a real socket", _SOCKETS)
    sock_accept: Any = _refused("use a real socket", _SOCKETS)
    sock_connect: Any = _refused("use a real socket", _SOCKETS)
    sock_recv: Any = _refused("use a real socket", _SOCKETS)
    sock_recv_into: Any = _refused("use a real socket", _SOCKETS)
    sock_recvfrom: Any = _refused("use a real socket", _SOCKETS)
    sock_recvfrom_into: Any = _refused("use a real socket", _SOCKETS)
    sock_sendall: Any = _refused("use a real socket", _SOCKETS)
    sock_sendto: Any = _refused("use a real socket", _SOCKETS)
    sock_sendfile: Any = _refused("use a real socket", _SOCKETS)
    add_reader: Any = _refused("watch a file descriptor", _FILES)
    remove_reader: Any = _refused("watch a file descriptor", _FILES)
    add_writer: Any = _refused("watch a file descriptor", _FILES)
    remove_writer: Any = _refused("watch a file descriptor", _FILES)
    connect_read_pipe: Any = _refused("read a real pipe", _FILES)
    connect_write_pipe: Any = _refused("write to a real pipe", _FILES)
    subprocess_exec: Any = _refused("start a process", _PROCESSES)
    subprocess_shell: Any = _refused("start a process", _PROCESSES)
    add_signal_handler: Any = _refused("handle signals", _SIGNALS)
    remove_signal_handler: Any = _refused("handle signals", _SIGNALS)


def _simulating() -> bool:
    return isinstance(asyncio._get_running_loop(), Fenced)  # noqa: SLF001 - the cheap per-thread look


def _guarded(original: Callable[..., Any], what: str, remedy: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if _simulating():
            raise SimulationError(f"a simulated program cannot {what}: {remedy}")
        return original(*args, **kwargs)

    return guarded


@contextmanager
def fences() -> Iterator[None]:
    """Shut the doors of the standard library for simulating threads, for as long as it is open.

    Re-entrant, and counted over all threads: the doors are put back by whoever leaves last.
    Other threads of the process pass through them as ever.
    """
    with _lock:
        _state["depth"] += 1
        if _state["depth"] == 1:
            _shut()
    try:
        yield
    finally:
        with _lock:
            _state["depth"] -= 1
            if _state["depth"] == 0:
                _reopen()


def _shut() -> None:
    for owner, name, what, remedy in _DOORS:
        # An inherited method (socket.connect is one of C) is taken away again, not put back.
        _state["originals"].append((owner, name, vars(owner).get(name, _NOT_THERE)))
        setattr(owner, name, _guarded(getattr(owner, name), what, remedy))


def _reopen() -> None:
    while _state["originals"]:
        owner, name, original = _state["originals"].pop()
        if original is _NOT_THERE:
            delattr(owner, name)
        else:
            setattr(owner, name, original)
