"""Load reports in response headers: read when right, left alone when not."""

import httpx
import pytest

from trimtab.strategies import LoadReport, read_load_report

TEXT, JSON = "endpoint-load-metrics", "endpoint-load-metrics-json"


@pytest.mark.parametrize(
    ("headers", "report"),
    [
        ({TEXT: "TEXT cpu_utilization=0.3, rps_fractional=10.0, eps=1"}, (10, 1, 0.3)),
        ({TEXT: "cpu_utilization=0.3,mem_utilization=0.8,rps_fractional=10"}, (10, 0, 0.3)),
        ({TEXT: "cpu_utilization:0.3,rps_fractional:10,named_metrics.a:4"}, (10, 0, 0.3)),
        ({TEXT: 'JSON {"cpu_utilization": 0.3, "rps_fractional": 10, "eps": 1}'}, (10, 1, 0.3)),
        ({TEXT: 'json {"cpuUtilization": 0.3, "rpsFractional": 1e2}'}, (100, 0, 0.3)),
        ({TEXT: '{"cpu_utilization": 0.3, "named_metrics": {"x": 1}}'}, (0, 0, 0.3)),
        ({JSON: '{"cpu_utilization": 0.3, "rps_fractional": 10}'}, (10, 0, 0.3)),
        ({JSON: 'JSON {"application_utilization": 1.5, "cpu_utilization": 0.3}'}, (0, 0, 1.5)),
        ({TEXT: "application_utilization=0, cpu_utilization=0.3"}, (0, 0, 0.3)),
        ({TEXT: "named_metrics.queue=4"}, (0, 0, 0)),
    ],
)
def test_a_report_is_read(headers, report):
    qps, eps, utilization = report
    wanted = LoadReport(qps=qps, eps=eps, utilization=utilization)
    assert read_load_report(headers) == wanted
    assert read_load_report(httpx.Headers(headers)) == wanted


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {TEXT: ""},
        {TEXT: "BIN CZqZmZmZmbk/MQAAAAAAAABA"},
        {TEXT: "TEXT cpu_utilization=much"},
        {TEXT: "cpu_utilization=nan"},
        {TEXT: "eps=-1"},
        {TEXT: "rps_fractional=inf"},
        {TEXT: 'JSON {"cpu_utilization": '},
        {TEXT: 'JSON ["cpu_utilization"]'},
        {TEXT: 'JSON {"cpu_utilization": true}'},
        {TEXT: 'JSON {"cpu_utilization": [0.3]}'},
        {TEXT: 'JSON {"cpu_utilization": ' + "9" * 400 + "}"},
        {TEXT: 'JSON {"\ud800": 1}'},
        {TEXT: "TEXT eps=1," + "x" * 20_000},
    ],
)
def test_what_is_no_report_is_left_alone(headers):
    assert read_load_report(headers) is None
