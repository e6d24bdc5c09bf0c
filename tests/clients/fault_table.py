"""The table of faults: which share of calls fails while one of five instances is ill.

    fault_table.py [--check] [--only NAME]     `make faults` runs it in the clients' environment

Five processes answer on loopback; ten callers of one client call without a pause, with a time-out
of 1 s. After 2 s one process is killed, stopped (it hangs with its port open), or answers 503; 6 s
later it is well again. The table says for each client and fault what share of the calls that began
in the 6 s failed, the rates per second before and meanwhile, and after how long the instance that
is well again was used. `--check` fails if Trimtab with retries has a failed call.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import httpx2
from elastic_transport import AsyncTransport, NodeConfig
from requests_load_balancer import LoadBalancer

from trimtab import BalancedTransport, RetryPolicy

COUNT, CALLERS, TIMEOUT_S = 5, 10, 1.0
BEFORE_S, FAULT_S, AFTER_S = 2.0, 6.0, 8.0
ILL = 2
PROGRAM = Path(__file__).with_name("instance_program.py")


# -- the instances ---------------------------------------------------------------------------------


class Process:
    """One of them, on a port that it keeps."""

    def __init__(self):
        self.port = 0
        self.start()

    def start(self):
        command = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, PROGRAM]
        self.process = subprocess.Popen(
            [*command, str(self.port)], stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def signal(self, number):
        self.process.send_signal(number)


FAULTS = {
    "kill": (Process.end, Process.start),
    "hang": (
        lambda ill: ill.signal(signal.SIGSTOP),
        lambda ill: ill.signal(signal.SIGCONT),
    ),
    "503s": (
        lambda ill: ill.signal(signal.SIGUSR1),
        lambda ill: ill.signal(signal.SIGUSR1),
    ),
}


# -- the clients -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def trimtab(ports, family=httpx, **options):
    url = "static://" + ",".join(f"127.0.0.1:{port}" for port in ports)
    transport = BalancedTransport(url, trust_env=False, **options)
    async with family.AsyncClient(transport=transport, timeout=TIMEOUT_S) as client:

        async def call():
            response = await client.get("http://orders/")
            response.raise_for_status()
            return int(response.text)

        yield call


def trimtab_with_retries(ports, family=httpx):
    failures = {"refused", "connect_timeout", "unprocessed", "no_response", "timeout"}
    retry = RetryPolicy(statuses={502, 503, 504}, failures=failures)
    return trimtab(ports, family, retry=retry)


@contextlib.asynccontextmanager
async def naive(ports):
    chance = random.Random(1)
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:

        async def call():
            response = await client.get(f"http://127.0.0.1:{chance.choice(ports)}/")
            response.raise_for_status()
            return int(response.text)

        yield call


@contextlib.asynccontextmanager
async def elastic(ports):
    transport = AsyncTransport(
        [NodeConfig("http", "127.0.0.1", port) for port in ports],
        max_retries=3,
        retry_on_timeout=True,
        retry_on_status=(502, 503, 504),
    )

    async def call():
        answer = await transport.perform_request("GET", "/", request_timeout=TIMEOUT_S)
        if answer.meta.status != 200:
            raise OSError(answer.meta.status)
        return int(answer.body)

    yield call
    await transport.close()


@contextlib.asynccontextmanager
async def requests_balanced(ports):
    """By threads; a host that failed is tried again after 3 s instead of a minute."""
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    balancer = LoadBalancer(urls, unhealthy_timeout=3)

    async def call():
        response = await asyncio.to_thread(balancer.get, "/", timeout=TIMEOUT_S)
        response.raise_for_status()
        return int(response.text)

    yield call


CLIENTS = {
    "naive random httpx": naive,
    "trimtab, httpx": trimtab,
    "trimtab, httpx2": lambda ports: trimtab(ports, httpx2),
    "trimtab with retries, httpx": trimtab_with_retries,
    "trimtab with retries, httpx2": lambda ports: trimtab_with_retries(ports, httpx2),
    "elastic-transport": elastic,
    "requests-load-balancer": requests_balanced,
}


# -- the measurement -------------------------------------------------------------------------------


@dataclass
class Cell:
    """What came of one client and one fault.

    Attributes:
        calls, failed: how many began during the fault, and how many of them failed.
        before_per_s, during_per_s: how many ended per second.
        back_s: when the instance was used again, from its recovery on; None: not within AFTER_S.
        errors: how the failed ones failed, with their counts.
    """

    calls: int
    failed: int
    before_per_s: float
    during_per_s: float
    back_s: float | None
    errors: dict

    def __str__(self):
        share = f"{self.failed}/{self.calls}" if self.failed else "0"
        percent = f" ({self.failed / self.calls:.2%})" if self.failed else ""
        back = "never" if self.back_s is None else f"{self.back_s:.1f} s"
        rates = f"{self.before_per_s:.0f} -> {self.during_per_s:.0f}"
        return f"{share}{percent}; {rates}; {back}"


async def measure(client, fault):
    processes = [Process() for _ in range(COUNT)]
    ill = processes[ILL]
    done = []
    break_, mend = FAULTS[fault]
    try:
        async with client([each.port for each in processes]) as call:
            began = time.monotonic()
            ends = began + BEFORE_S + FAULT_S + AFTER_S

            async def work():
                while (start := time.monotonic()) < ends:
                    try:
                        port, error = await call(), ""
                    except Exception as failure:  # noqa: BLE001 - every failed call is a finding
                        port, error = 0, type(failure).__name__
                    done.append((start, time.monotonic(), port, error))

            async with asyncio.TaskGroup() as group:
                for _ in range(CALLERS):
                    group.create_task(work())
                await asyncio.sleep(BEFORE_S)
                broken_at = time.monotonic()
                await asyncio.to_thread(break_, ill)
                await asyncio.sleep(FAULT_S)
                mended_at = time.monotonic()
                await asyncio.to_thread(mend, ill)
    finally:
        for each in processes:
            each.signal(signal.SIGCONT)
            each.end()
    during = [each for each in done if broken_at <= each[0] < mended_at]
    after = [end for _, end, port, _ in done if port == ill.port and end > mended_at]
    return Cell(
        calls=len(during),
        failed=sum(bool(error) for *_, error in during),
        before_per_s=sum(end < broken_at for _, end, *_ in done) / BEFORE_S,
        during_per_s=sum(broken_at <= end < mended_at for _, end, *_ in done) / FAULT_S,
        back_s=min(after) - mended_at if after else None,
        errors=dict(Counter(error for *_, error in during if error)),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", default="")
    wanted = parser.parse_args()
    print(f"Python {sys.version.split()[0]}: failed during {FAULT_S:g} s; calls per s; back after")
    print(f"| | {' | '.join(FAULTS)} |\n|---|{'---|' * len(FAULTS)}", flush=True)
    failed = []
    for name, client in CLIENTS.items():
        if wanted.only not in name:
            continue
        cells = {fault: asyncio.run(measure(client, fault)) for fault in FAULTS}
        print(f"| {name} | {' | '.join(map(str, cells.values()))} |", flush=True)
        for fault, cell in cells.items():
            must_hold = "trimtab with" in name or ("trimtab" in name and fault == "kill")
            if must_hold and cell.failed:
                failed.append(f"{name}, {fault}: {cell.errors}")
    print("\n".join(failed))
    return 1 if wanted.check and failed else 0


if __name__ == "__main__":
    sys.exit(main())
