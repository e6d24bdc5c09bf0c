"""Block real I/O in a simulated program: threads, sockets, processes, real sleep.

In virtual time an hour passes in a second. A thread, a socket or a child process works in real
time, so its answer has no defined moment in virtual time: the run would end differently each time,
or never. While a simulation runs, these calls raise an error that names the alternative, in the
thread of the simulation only.
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
_FILES = "virtual time cannot wait for file descriptors; use an asyncio.Queue or Event"
_NAMES = "names cannot be resolved in virtual time; " + _SOCKETS
_SIGNALS = "handle signals outside the simulation"

_BLOCKED: tuple[tuple[Any, str, str, str], ...] = (
    (threading.Thread, "start", "start a thread", _THREADS),
    (socket, "create_connection", "open a real connection", _SOCKETS),
    (socket.socket, "connect", "open a real connection", _SOCKETS),
    (socket.socket, "connect_ex", "open a real connection", _SOCKETS),
    (subprocess.Popen, "__init__", "start a process", _PROCESSES),
    (time, "sleep", "sleep in real time", _SLEEP),
)
_INHERITED = object()
_lock = threading.Lock()
_state: dict[str, Any] = {"depth": 0, "originals": []}


def _refused(what: str, remedy: str) -> Any:
    """Make a loop method that raises. `Any`, so that it fits any signature."""

    def refuse(self: object, *_args: object, **_kwargs: object) -> None:  # noqa: ARG001 - a method
        raise SimulationError(f"a simulated program cannot {what}: {remedy}")

    return refuse


class Fenced:
    """The loop methods that do real I/O; each raises SimulationError."""

    run_in_executor: Any = _refused("run work in an executor", _THREADS)
    getaddrinfo: Any = _refused("resolve a name", _NAMES)
    getnameinfo: Any = _refused("resolve a name", _NAMES)
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
    return isinstance(asyncio._get_running_loop(), Fenced)  # noqa: SLF001 - the cheap check per thread


def _guarded(original: Callable[..., Any], what: str, remedy: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if _simulating():
            raise SimulationError(f"a simulated program cannot {what}: {remedy}")
        return original(*args, **kwargs)

    return guarded


@contextmanager
def fences() -> Iterator[None]:
    """Block real I/O of the standard library for simulating threads, inside the block.

    Re-entrant, and counted over all threads: the last exit restores the functions. Other threads
    of the process can use them as always.
    """
    with _lock:
        _state["depth"] += 1
        if _state["depth"] == 1:
            _install()
    try:
        yield
    finally:
        with _lock:
            _state["depth"] -= 1
            if _state["depth"] == 0:
                _restore()


def _install() -> None:
    for owner, name, what, remedy in _BLOCKED:
        # An inherited method (socket.connect comes from C) is deleted again, not restored.
        _state["originals"].append((owner, name, vars(owner).get(name, _INHERITED)))
        setattr(owner, name, _guarded(getattr(owner, name), what, remedy))


def _restore() -> None:
    while _state["originals"]:
        owner, name, original = _state["originals"].pop()
        if original is _INHERITED:
            delattr(owner, name)
        else:
            setattr(owner, name, original)
