"""What all endpoints that read have in common: options, blocking, headers, JSON."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from trimtab.server.blocking import wait_with_jitter_s
from trimtab.server.decoding import Refusal, duration_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from trimtab.server.state import RegistryState

__all__ = [
    "ReadOptions",
    "answer",
    "as_json",
    "body_of",
    "flag",
    "read_options",
    "required",
    "state_of",
]

_TRUE = {"1", "t", "T", "TRUE", "true", "True", ""}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}
_CLIENT_DISCONNECTED = 499  # the client does not read it
_BODY_S = 30.0
_MAX_INDEX = 2**64 - 1  # Consul keeps indexes in 64 bits
_INDEX_DIGITS = len(str(_MAX_INDEX))
_NO_INDEX = {
    "X-Consul-Index": "1",
    "X-Consul-KnownLeader": "false",
    "X-Consul-LastContact": "0",
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """The query parameters that all reads share.

    Attributes:
        index: block until the answer's index is above this; 0 does not block.
        wait_s: how long to block at most; 0: the default.
        consistency: "leader", "stale" or "consistent"; a single server answers all three alike.
    """

    index: int = 0
    wait_s: float = 0.0
    consistency: str = "leader"


def state_of(request: Request) -> RegistryState:
    """Return the state of the registry that received the request."""
    return cast("RegistryState", request.app.state.registry)


def read_options(request: Request) -> ReadOptions:
    """Read the shared parameters.

    Raises:
        Refusal: 400 for a wrong value, 500 for another datacenter or a filter.
    """
    query = request.query_params
    if "stale" in query and "consistent" in query:
        raise Refusal(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")
    index = _index(query.get("index", "") or "0")
    try:
        wait_s = duration_s(query.get("wait", ""))
    except ValueError:
        raise Refusal(400, "Invalid wait time") from None
    if query.get("dc") not in {None, "", state_of(request).settings.datacenter}:
        raise Refusal(500, "No path to datacenter", _NO_INDEX)
    if query.get("filter"):
        raise Refusal(
            500,
            "Failed to create boolean expression evaluator: ?filter is not supported by this "
            "registry; filter on the client, or by ?tag and ?passing",
            _NO_INDEX,
        )
    for narrowing in ("node-meta", "peer"):
        if query.get(narrowing):
            # Ignoring it would list more instances than the client asked for.
            raise Refusal(400, f"?{narrowing} is not supported by this registry")
    consistency = next((name for name in ("stale", "consistent") if name in query), "leader")
    return ReadOptions(index, wait_s, consistency)


async def body_of(request: Request) -> bytes:
    """Return the request's body.

    Raises:
        Refusal: 408, it has not arrived within 30 s: a slow client must not hold a connection.
            499, the client has disconnected.
    """
    try:
        async with asyncio.timeout(_BODY_S):
            return await request.body()
    except TimeoutError:
        raise Refusal(408, f"The body has not arrived within {_BODY_S:g} s") from None
    except ClientDisconnect:
        raise Refusal(_CLIENT_DISCONNECTED, "") from None


def _index(text: str) -> int:
    # Its length comes first: Python refuses to read a number of thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) <= _INDEX_DIGITS):
        raise Refusal(400, "Invalid index")
    index = int(text)
    if index > _MAX_INDEX:
        raise Refusal(400, "Invalid index")
    return index


def flag(request: Request, name: str) -> bool:
    """Read a switch as Go does: bare or true-like is on, absent or false-like is off.

    Raises:
        Refusal: 400, it is neither.
    """
    value = request.query_params.get(name)
    if value is None or value in _FALSE:
        return False
    if value not in _TRUE:
        raise Refusal(400, f"Invalid value for ?{name}")
    return True


def required(request: Request, what: str) -> str:
    """Return the last part of the path; `what` is what it names.

    Raises:
        Refusal: 400, it is empty.
    """
    name: str = request.path_params["name"]
    if not name:
        raise Refusal(400, f"Missing {what}")
    return name


async def answer(
    request: Request,
    topics: Sequence[str],
    *,
    index_of: Callable[[], int],
    read: Callable[[], Any],
) -> Response:
    """Answer a read; block first if the client asked for it.

    Args:
        request: the request.
        topics: the topics that may wake it.
        index_of: returns the current index of the answer.
        read: returns the current answer: a value for JSON, or bytes that are JSON already.
    """
    options, state = read_options(request), state_of(request)
    if options.index and not await state.waiters.wait(
        topics,
        lambda: index_of() > options.index,
        timeout_s=wait_with_jitter_s(options.wait_s, state.rng),
        receive=request.receive,
    ):
        return Response(status_code=_CLIENT_DISCONNECTED)
    response = as_json(request, read())
    response.headers["X-Consul-Index"] = str(index_of())
    response.headers["X-Consul-KnownLeader"] = "true"
    response.headers["X-Consul-LastContact"] = "0"
    response.headers["X-Consul-Effective-Consistency"] = options.consistency
    return response


def as_json(request: Request, value: Any) -> Response:
    """Write a value as JSON, indented if `?pretty` is set."""
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    if "pretty" in request.query_params:
        body = msgspec.json.format(body, indent=4)
    return Response(body, media_type="application/json")
