"""`trimtab call`: send one request to a service, or many with figures per instance."""

from __future__ import annotations

import json
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import httpx
from cyclopts import Parameter

from trimtab.cli.consoles import as_json, for_output, visible
from trimtab.cli.ending import DONE, FAILED, INTERRUPTED, warn
from trimtab.cli.inputs import (
    LOCAL,
    Json,
    Positive,
    Seconds,
    Source,
    Strategy,
    read_header,
    read_method,
    read_target,
)
from trimtab.cli.load import FIRST_FAILING_STATUS, report_json, report_table, run_load
from trimtab.discovery import DiscoverySettings
from trimtab.transports import BalancedTransport

if TYPE_CHECKING:
    from trimtab.transports import CallInfo

__all__ = ["call"]

_FIRST_LIST_S = 3.0


async def call(
    target: str,
    /,
    *,
    count: Annotated[Positive, Parameter(alias="-n")] = 1,
    concurrency: Annotated[Positive, Parameter(alias="-c")] = 1,
    strategy: Strategy = "least_latency",
    method: Annotated[str | None, Parameter(alias="-X")] = None,
    header: Annotated[tuple[str, ...], Parameter(alias="-H", show_default=False)] = (),
    data: Annotated[str | None, Parameter(alias="-d")] = None,
    timeout_s: Annotated[Seconds, Parameter(name="--timeout")] = 10.0,
    verbose: Annotated[bool, Parameter(alias="-v")] = False,
    json_: Json = False,
    source: Source = LOCAL,
) -> int:
    """Send a request to a service; the library picks the instance.

    One request prints the body of the response. With a count, a table shows how the requests
    were spread, with failures and latency per instance. The exit code is 1 if a request got no
    response, or one with status 500 or above. Ctrl-C ends the requests, and shows what was done.

    ```
    trimtab call orders/items/7 -v
    trimtab call orders/items -X POST -H 'Content-Type: application/json' -d '{"n": 1}'
    trimtab call orders/ -n 1000 -c 20 --strategy least_request
    ```

    Args:
        target: SERVICE/PATH, or a URL whose host is the service.
        count: The number of requests.
        concurrency: How many of them run at the same time.
        strategy: The strategy that picks an instance.
        method: The HTTP method; by default GET, or POST with --data.
        header: 'Name: value'; may be repeated.
        data: The request's body.
        timeout_s: How long an attempt may wait for the network, in seconds.
        verbose: Print on standard error which instance answered.
        json_: Print JSON.
        source: The registry.
    """
    service, url = read_target(target)
    headers = [read_header(each) for each in header]
    verb = read_method(method or ("GET" if data is None else "POST"))
    transport = BalancedTransport(
        source.registry,
        service=service,
        strategy=strategy,
        discovery=DiscoverySettings(startup_timeout_s=_FIRST_LIST_S),
    )
    async with httpx.AsyncClient(transport=transport, timeout=timeout_s, headers=headers) as client:
        if count == 1:
            request = client.build_request(verb, url, content=data)
            return await _one(client, request, verbose=verbose, json_=json_)
        load = await run_load(
            lambda: client.request(verb, url, content=data), count=count, concurrency=concurrency
        )
    if json_:
        print(json.dumps(report_json(service, load), indent=2))
    else:
        for_output().print(report_table(service, load))
    if load.is_interrupted:
        warn(f"interrupted after {load.total.requests} of {count} requests")
        return INTERRUPTED
    return FAILED if load.failures else DONE


async def _one(
    client: httpx.AsyncClient, request: httpx.Request, *, verbose: bool, json_: bool
) -> int:
    started_at = perf_counter()
    response = await client.send(request)
    elapsed_s = perf_counter() - started_at
    info: CallInfo = response.extensions["trimtab"]
    if verbose:
        warn(_described(response, info, elapsed_s))
    if json_:
        print(json.dumps(_as_json(response, info, elapsed_s), indent=2))
    else:
        sys.stdout.buffer.write(response.content)
    return FAILED if response.status_code >= FIRST_FAILING_STATUS else DONE


def _described(response: httpx.Response, info: CallInfo, elapsed_s: float) -> str:
    attempts = f"{info.attempts} attempt{'s' if info.attempts > 1 else ''}"
    why = f" after {info.reason}" if info.reason else ""
    return (
        f"{response.status_code} {response.reason_phrase} from {visible(info.instance.id)} "
        f"({info.instance.address}) in {elapsed_s * 1000:.1f} ms, {attempts}{why}"
    )


def _as_json(response: httpx.Response, info: CallInfo, elapsed_s: float) -> dict[str, object]:
    return {
        "status": response.status_code,
        "headers": response.headers.multi_items(),
        "body": response.text,
        "instance": as_json(info.instance),
        "attempts": info.attempts,
        "reason": info.reason,
        "waited_s": info.waited_s,
        "elapsed_s": elapsed_s,
        "list_age_s": info.list_age_s,
        "list_source": info.list_source,
    }
