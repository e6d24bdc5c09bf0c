"""Many requests and their figures."""

import asyncio
import io
import json
import math

import httpx
from rich.console import Console

from trimtab.cli.load import Load, Row, report_json, report_table, run_load
from trimtab.instance import Instance


class Info:
    attempts = 2

    def __init__(self, name):
        self.instance = Instance(host="10.0.0.1", port=80, id=name)


def answers(*statuses):
    """Make a sender that gives each status in turn; None breaks."""
    left = list(statuses)

    async def send():
        await asyncio.sleep(0)
        status = left.pop(0)
        if status is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(status, extensions={"trimtab": Info(f"i{status}")})

    return send


def rendered(picture):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(picture)
    return console.export_text()


def test_a_load_counts_per_instance():
    load = asyncio.run(run_load(answers(200, 200, 503, None), count=4, concurrency=3))
    assert load.rows["i200"].requests == 2
    assert (load.rows["i503"].requests, load.rows["i503"].failures) == (1, 1)
    assert load.rows[""].failures == 1
    assert load.errors == {"refused": 1}
    assert (load.failures, load.retried, load.total.requests) == (2, 3, 4)


def test_quantiles_are_nearest_ranks():
    row = Row(latencies_s=[0.4, 0.1, 0.3, 0.2])
    assert (row.quantile_s(0), row.quantile_s(0.5), row.quantile_s(0.99)) == (0.1, 0.2, 0.4)
    assert row.mean_s == 0.25
    assert math.isnan(Row().mean_s)
    assert math.isnan(Row().quantile_s(0.5))


def test_the_table_shows_instances_those_without_response_and_a_total():
    load = asyncio.run(run_load(answers(200, None), count=2, concurrency=1))
    text = rendered(report_table("orders", load))
    assert "i200" in text
    assert "(no response)" in text
    assert "50.0%" in text
    assert "2 requests to orders" in text
    assert "1 failed" in text
    assert "1 x refused" in text


def test_the_json_has_no_nan():
    load = Load(rows={"": Row(requests=1, failures=1)}, elapsed_s=1.0)
    text = json.dumps(report_json("orders", load), allow_nan=False)
    data = json.loads(text)
    assert data["total"]["failures"] == 1
    assert data["instances"] == [
        {
            "id": None,
            "address": None,
            "requests": 1,
            "failures": 1,
            "share_ratio": 1.0,
            "mean_s": None,
            "p50_s": None,
            "p99_s": None,
        }
    ]
