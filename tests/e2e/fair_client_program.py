"""A fresh program with default settings that calls a service, as in a user's first minutes.

    python fair_client_program.py '{"family": "httpx", "is_async": true, "ports": [...], ...}'

`workers` call one request after the other, or with `rate_per_s` one of them at that rate. It prints
`begun` and, after `last_s` seconds, a JSON list of calls: when each began and ended (the machine's
monotonic clock), the port that answered or 0, and whether it succeeded.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import threading
import time
from itertools import count

from trimtab import BalancedTransport, RetryPolicy


class Caller:
    def __init__(self, order):
        self.order, self.calls = order, []
        family = self.family = importlib.import_module(order["family"])
        settings = {}
        if order.get("retries"):
            settings["retry"] = RetryPolicy(
                failures=("refused", "connect_timeout", "no_response", "timeout"),
                statuses=(502, 503, 504),
            )
        addresses = ",".join(f"127.0.0.1:{port}" for port in order["ports"])
        transport = BalancedTransport(
            f"static://{addresses}", service="orders", verify=order.get("verify", True), **settings
        )
        kind = family.AsyncClient if order["is_async"] else family.Client
        self.client = kind(transport=transport, timeout=1.0, trust_env=False)
        self.url = f"{order.get('scheme', 'http')}://orders/"
        self.began = time.monotonic()
        self.end = self.began + order["last_s"]

    def note(self, began, response=None):
        port, is_well = 0, False
        if response is not None:
            port = response.extensions["trimtab"].instance.port
            is_well = response.is_success
        self.calls.append((began, time.monotonic(), port, is_well))

    def pause_s(self, number):
        rate_per_s = self.order.get("rate_per_s")
        due = self.began + number / rate_per_s if rate_per_s else 0.0
        return max(0.0, due - time.monotonic())

    async def work(self):
        for number in count(1):
            began = time.monotonic()
            if began >= self.end:
                break
            try:
                self.note(began, await self.client.get(self.url))
            except self.family.TransportError:
                self.note(began)
            await asyncio.sleep(self.pause_s(number))

    def work_sync(self):
        for number in count(1):
            began = time.monotonic()
            if began >= self.end:
                break
            try:
                self.note(began, self.client.get(self.url))
            except self.family.TransportError:
                self.note(began)
            time.sleep(self.pause_s(number))  # noqa: TID251 - its rate

    async def run(self):
        async with self.client:
            await asyncio.gather(*(self.work() for _ in range(self.order["workers"])))

    def run_sync(self):
        with self.client:
            threads = [
                threading.Thread(target=self.work_sync) for _ in range(self.order["workers"])
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def main(order):
    caller = Caller(order)
    print("begun", flush=True)
    asyncio.run(caller.run()) if order["is_async"] else caller.run_sync()
    print(json.dumps(sorted(caller.calls)))


main(json.loads(sys.argv[1]))
