"""Load reports in response headers: read when right, left alone when not."""

import struct
import sys
from base64 import b64encode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    for given_headers in (headers, httpx.Headers(headers)):
        found = read_load_report(given_headers)
        assert (found.qps, found.eps, found.utilization) == (qps, eps, utilization)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {TEXT: ""},
        {TEXT: "BIN CZqZmZmZ"},
        {TEXT: "BIN not base64!"},
        {TEXT: "BIN \u00e4\u00e4\u00e4\u00e4"},
        {TEXT: "BIN " + b64encode(b"\x09" + struct.pack("<d", -1.0)).decode()},
        {TEXT: "BIN " + b64encode(b"\x0b").decode()},  # a group, which proto3 has not
        {TEXT: "BIN " + b64encode(b"\x18").decode()},
        {TEXT: "BIN " + b64encode(b"\xff" * 12).decode()},
        {TEXT: "BIN " + b64encode(b"\x42\x7f\x0a").decode()},
        {TEXT: "BIN " + b64encode(b"\x42\x03\x0a\x01\xff").decode()},
        {TEXT: 'JSON {"a": ' + "[" * 15_000},
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


# -- what is named -------------------------------------------------------------------------------

VLLM = "named_metrics.kv_cache_usage_perc=0.4, named_metrics.num_requests_waiting=3"


@pytest.mark.parametrize(
    ("header", "utilization", "in_flight"),
    [
        (f"TEXT {VLLM}", 0.4, 3),
        ('JSON {"named_metrics": {"kv_cache_usage_perc": 0.4, "num_requests_waiting": 3}}', 0.4, 3),
        ('JSON {"namedMetrics": {"requests_in_flight": 7}}', 0, 7),
        ("TEXT cpu_utilization=0.2, named_metrics.kv_cache_usage_perc=0.4", 0.2, None),
        (f"TEXT {VLLM}, named_metrics.num_requests_running=5", 0.4, 8),
        (f"TEXT {VLLM}, named_metrics.requests_in_flight=1", 0.4, 1),
        ("TEXT cpu_utilization=0.2, named_metrics.requests_in_flight=many", 0.2, None),
        ('JSON {"named_metrics": [1], "cpu_utilization": 0.2}', 0.2, None),
    ],
)
def test_named_metrics_say_what_waits_and_how_full_it_is(header, utilization, in_flight):
    report = read_load_report({TEXT: header})
    assert (report.utilization, report.in_flight, report.qps) == (utilization, in_flight, 0)


def test_all_named_metrics_are_kept():
    report = read_load_report({TEXT: f"TEXT {VLLM}, named_metrics.tokens=2e3"})
    assert report.named_metrics == {
        "kv_cache_usage_perc": 0.4,
        "num_requests_waiting": 3.0,
        "tokens": 2000.0,
    }


# -- the binary form -----------------------------------------------------------------------------


def a_double(number, value):
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def a_named(name, value=None, number=8):
    entry = b"\x0a" + bytes([len(name)]) + name.encode()
    entry += b"" if value is None else a_double(2, value)
    return bytes([number << 3 | 2, len(entry)]) + entry


def read_binary(message, *, padded=True):
    text = b64encode(message).decode()
    return read_load_report({TEXT: f"BIN {text if padded else text.rstrip('=')}"})


@pytest.mark.parametrize("padded", [True, False])
def test_the_binary_form_is_read(padded):
    message = b"".join(
        [
            *(a_double(1, 0.3), a_double(2, 0.8), a_double(6, 120.5), a_double(7, 0.5)),
            bytes([3 << 3, 0xC8, 0x01]),  # `rps`, a varint, which is deprecated
            *(a_named("cost", 3.0, number=4), a_named("disk", 0.9, number=5)),
            *(a_named("requests_in_flight", 7.0), a_named("idle")),
            bytes([15 << 3 | 5, 1, 2, 3, 4]),  # a field of a later version
        ]
    )
    report = read_binary(message, padded=padded)
    assert report == LoadReport(
        qps=120.5,
        eps=0.5,
        utilization=0.3,
        in_flight=7.0,
        named_metrics={"requests_in_flight": 7.0, "idle": 0.0},
    )
    assert read_binary(message + a_double(9, 0.7)).utilization == 0.7


def test_fields_of_another_kind_than_the_message_has_are_no_numbers():
    # `cpu_utilization` as text, a name as a double.
    assert read_binary(b"\x0a\x01x") is None
    assert read_binary(b"\x42\x09" + a_double(1, 2.0)).named_metrics == {}
    assert read_binary(b"\x41" + struct.pack("<d", 1.0)).named_metrics == {}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_none(message):
    report = read_binary(message)
    assert report is None or report.utilization >= 0


@given(st.text(max_size=200), st.sampled_from(["", "TEXT ", "JSON ", "BIN "]))
def test_any_text_is_a_report_or_none(text, form):
    report = read_load_report({TEXT: form + text})
    assert report is None or report.utilization >= 0


@pytest.mark.parametrize(
    "text",
    [
        "BIN " + b64encode(b"".join(a_named(f"{n:03}", 1.0) for n in range(700))).decode(),
        "BIN " + b64encode(b"\x42\x02\x0a\x00" * 3000).decode(),
        "BIN " + b64encode(b"\x18\x01" * 6000).decode(),
        "TEXT " + "named_metrics.a=1," * 900,
        "JSON {" + ",".join(f'"named_metrics.{n}":1' for n in range(700)) + "}",
        'JSON {"eps": ' + "9" * 16_000 + "}",
        "TEXT eps=" + "9" * 16_000,
    ],
)
def test_the_longest_header_costs_some_steps_per_character(text):
    assert len(text) <= 16_384
    # In calls of functions, which do not depend on the machine.
    steps = 0

    def count(_frame, _event, _argument):
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    try:
        read_load_report({TEXT: text})
    finally:
        sys.setprofile(None)
    assert steps < 20 * len(text)


@pytest.mark.parametrize("count", [100, 101])
def test_at_most_a_hundred_named_metrics(count):
    names = [f"{n:03}" for n in range(count)]
    reports = [
        read_binary(b"".join(a_named(name, 1.0) for name in names)),
        read_load_report({TEXT: "TEXT " + ",".join(f"named_metrics.{name}=1" for name in names)}),
    ]
    wanted = dict.fromkeys(names, 1.0) if count == 100 else None
    assert [report and report.named_metrics for report in reports] == [wanted] * 2
