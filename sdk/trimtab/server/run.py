"""Run the registry inside a program (`EmbeddedRegistry`) or as a program (`serve`)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import uvicorn

from trimtab.errors import ClosedError, ConfigurationError
from trimtab.server.app import create_app
from trimtab.server.connections import (
    Connection,
    Connections,
    raise_file_limit,
    room_for_connections,
)
from trimtab.server.state import Settings

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.applications import Starlette

__all__ = ["EmbeddedRegistry", "serve"]

_log = logging.getLogger("trimtab.server")
# Longer than clients keep idle connections, so that the clients close them: if the server closes
# first, it races with the next request on that connection.
_KEEP_ALIVE_S = 75
_SHUTDOWN_TIMEOUT_S = 5
_MAX_PORT = 65535
_MAX_CONNECTIONS = 16384
_EMBEDDED_RATIO, _ALONE_RATIO = 0.5, 0.75
_BACKLOG = 2048
# Addresses reserved for documentation; they lie outside every local network.
_FAR_V4 = (socket.AF_INET, "192.0.2.1", "127.0.0.1")
_FAR_V6 = (socket.AF_INET6, "2001:db8::1", "::1")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class EmbeddedRegistry:
    """A registry inside this program, in a thread of its own.

    Start it with `with` or `async with`, or by `start()` and `stop()`. While it runs, `url` is for
    `trimtab.connect` and `http_url` for any other Consul client. The thread is a daemon: a program
    that does not stop it can still end.

    Args:
        host: the address to bind.
        port: the port to bind; 0 takes a free one.
        data_dir: where the state is kept; None keeps it in memory only.
        token: the token that clients must send; None: requests need no token.
        enable_script_checks: clients may register commands that this machine then runs.
        max_connections: how many connections may be open at once; at most half as many as this
            process may open files. See `trimtab.server.connections` for what happens then.
        settings: further ones, as in `trimtab.server.state.Settings`.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        data_dir: Any = None,
        token: str | None = None,
        enable_script_checks: bool = False,
        max_connections: int = _MAX_CONNECTIONS,
        **settings: Any,
    ) -> None:
        settings.setdefault("node_address", _own_address(host))
        self._room = _room(max_connections, settings, ratio=_EMBEDDED_RATIO)
        self._host, self._port = host, port
        self._app = create_app(
            data_dir=data_dir,
            token=token,
            enable_script_checks=enable_script_checks,
            **settings,
        )
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        where = f"at {self.url}" if self._socket is not None else "not running"
        return f"<{type(self).__name__} {where}>"

    @property
    def address(self) -> str:
        """`host:port`, with the bound port."""
        if self._socket is None:
            raise ClosedError("the embedded registry is not running; start it first")
        return _joined(self._host, self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """The registry URL, `consul://127.0.0.1:54321`."""
        return f"consul://{self.address}"

    @property
    def http_url(self) -> str:
        """The URL for other Consul clients, `http://127.0.0.1:54321`."""
        return f"http://{self.address}"

    def start(self) -> Self:
        """Bind, start the thread, and return as soon as requests are answered.

        Raises:
            ConfigurationError: the address cannot be bound, or the data cannot be used.
        """
        self._socket = _bound(self._host, self._port)
        self._server = _Server(self._app, self._room)
        self._thread = threading.Thread(
            target=self._server.run_in_thread,
            args=(self._socket,),
            name="trimtab-registry",
            daemon=True,
        )
        self._thread.start()
        self._server.settled.wait()
        if self._server.failure is not None:
            self.stop()
            raise self._server.failure
        return self

    def stop(self) -> None:
        """Answer waiting queries, stop, and wait for the thread. A second call does nothing."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
            self._thread = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.stop)


def serve(
    host: str = "127.0.0.1",
    port: int = 8500,
    *,
    max_connections: int = _MAX_CONNECTIONS,
    **settings: Any,
) -> None:
    """Run a registry until SIGTERM or SIGINT. Prints one line with its URL once it listens.

    Args:
        host: the address to bind; set a token if it is not a loopback address.
        port: the port to bind; 0 takes a free one.
        max_connections: how many connections may be open at once; at most three quarters as many
            as the system lets a process open files.
        settings: those of `trimtab.server.state.Settings`.

    Raises:
        ConfigurationError: a setting is wrong, the address is taken, the data is unusable.
    """
    settings.setdefault("node_address", _own_address(host))
    raise_file_limit()
    room = _room(max_connections, settings, ratio=_ALONE_RATIO)
    app = create_app(**settings)
    with _bound(host, port) as bound:
        if settings.get("token") is None and not _is_loopback(host):
            _log.warning(
                "listening on %s without a token: every client that reaches it may register", host
            )
        address = _joined(host, bound.getsockname()[1])
        _Server(app, room, line=f"Registry at consul://{address}").run(sockets=[bound])


class _Server(uvicorn.Server):
    """uvicorn that reports when it listens, and answers blocking queries at once when it stops.

    The application's lifespan is entered here rather than by uvicorn, so that its errors reach
    the caller as exceptions and not as log records.
    """

    def __init__(self, app: Starlette, room: int, line: str | None = None) -> None:
        protocol: Any = partial(Connection, Connections(room))
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                # As many are accepted at once, before any of them is refused.
                backlog=max(1, min(_BACKLOG, room // 6)),
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_S,
            )
        )
        self.settled = threading.Event()
        self.failure: BaseException | None = None
        self._app = app
        self._line = line

    def run_in_thread(self, bound: socket.socket) -> None:
        """Run, and keep an error for the thread that waits for `settled`."""
        try:
            self.run(sockets=[bound])
        except BaseException as error:  # noqa: BLE001 - raised again in the other thread
            self.failure = error
        finally:
            self.settled.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        async with self._app.router.lifespan_context(self._app):
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            # The system's queue may be long, even where few connections are accepted at once.
            each.listen(_BACKLOG)
        if self._line:
            print(self._line, flush=True)  # noqa: T201 - the starting program waits for this line
        self.settled.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.registry.waiters.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on SIGTERM and SIGINT; unlike uvicorn, do not raise them again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in _STOP_SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def _room(max_connections: int, settings: dict[str, Any], *, ratio: float) -> int:
    """Return how many connections there is room for; blocking queries get three quarters of it."""
    if max_connections < 1:
        raise ConfigurationError(
            f"registry max_connections is {max_connections}; it must be 1 or more"
        )
    room = room_for_connections(max_connections, ratio=ratio)
    wanted = settings.get("max_waiting", Settings().max_waiting)
    settings["max_waiting"] = min(wanted, max(1, room * 3 // 4))
    return room


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port <= _MAX_PORT:
        # The system would take the port modulo 65536 and bind another one.
        raise ConfigurationError(f"the registry cannot bind {_joined(host, port)}: no such port")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        # The protocol must be named: asyncio turns Nagle's algorithm off only where it is, and
        # with it on, answers in two parts take 40 ms.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(bound.close)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            on_failure.pop_all()
        return bound  # noqa: TRY300 - it belongs to the try
    except OSError as error:
        raise ConfigurationError(
            f"the registry cannot bind {_joined(host, port)}: {error}; "
            "choose another address or port (0 takes a free port)"
        ) from None


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_address(host: str) -> str:
    """Return the address at which this node can be reached if it binds to `host`."""
    if host not in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return host
    family, elsewhere, loopback = _FAR_V6 if host == "::" else _FAR_V4
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: this only asks the system for the route.
            probe.connect((elsewhere, 9))
        except OSError:
            return loopback
        return str(probe.getsockname()[0])
