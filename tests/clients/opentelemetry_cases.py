"""OpenTelemetry's instrumentation of httpx and httpx2, in each of the ways its page shows."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import httpx2
import opentelemetry.instrumentation.httpx as instrumentation
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytestmark = pytest.mark.anyio
FAMILIES = pytest.mark.parametrize(
    "of",
    [
        SimpleNamespace(
            family=httpx,
            instrumentor=instrumentation.HTTPXClientInstrumentor,
            sync=instrumentation.SyncOpenTelemetryTransport,
            asynchronous=instrumentation.AsyncOpenTelemetryTransport,
        ),
        SimpleNamespace(
            family=httpx2,
            instrumentor=instrumentation.HTTPX2ClientInstrumentor,
            sync=instrumentation.SyncOpenTelemetryTransportHttpx2,
            asynchronous=instrumentation.AsyncOpenTelemetryTransportHttpx2,
        ),
    ],
    ids=["httpx", "httpx2"],
)


@pytest.fixture(scope="session")
def provider():
    return TracerProvider()


@pytest.fixture
def spans(provider):
    """What is exported from now on."""
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    provider.add_span_processor(processor)
    yield exporter
    processor.shutdown()


def asserted(response):
    """Check that the instance got the context; return its span's id."""
    assert response.status_code == 200
    return response.json()["headers"]["traceparent"].split("-")[2]


def ids(spans):
    return {trace.format_span_id(span.context.span_id) for span in spans.get_finished_spans()}


@FAMILIES
def test_one_client(fleet, of, spans, provider):
    with fleet.balanced() as transport, of.family.Client(transport=transport) as client:
        of.instrumentor().instrument_client(client, tracer_provider=provider)
        sent = fleet.calls(lambda _: asserted(client.get("http://orders/who")))
    assert set(sent) == ids(spans)
    assert len(spans.get_finished_spans()) == len(sent)
    named = {span.attributes["http.url"] for span in spans.get_finished_spans()}
    assert named == {"http://orders/who"}


@FAMILIES
def test_all_clients(fleet, of, spans, provider):
    """`instrument()` wraps httpx's own transports; those of a client have spans as inner ones."""
    of.instrumentor().instrument(tracer_provider=provider)
    try:
        inner = of.family.HTTPTransport
        with (
            fleet.balanced(inner=lambda instance: inner()) as transport,
            of.family.Client(transport=transport) as client,
        ):
            sent = fleet.calls(lambda _: asserted(client.get("http://orders/who")))
    finally:
        of.instrumentor().uninstrument()
    assert set(sent) < ids(spans), "attempts that failed have spans too"


@FAMILIES
def test_around_the_transport(fleet, of, spans, provider):
    with fleet.balanced() as transport:
        traced = of.sync(transport, tracer_provider=provider)
        with of.family.Client(transport=traced) as client:
            sent = fleet.calls(lambda _: asserted(client.get("http://orders/who")))
    assert set(sent) == ids(spans)


@FAMILIES
def test_within_it_each_attempt_has_a_span(fleet, of, spans, provider):
    def inner(instance):
        return of.sync(of.family.HTTPTransport(), tracer_provider=provider)

    with (
        fleet.balanced(inner=inner) as transport,
        of.family.Client(transport=transport) as client,
    ):
        sent = fleet.calls(lambda _: asserted(client.get("http://orders/who")))
    assert set(sent) < ids(spans), "attempts that failed have spans too"


@FAMILIES
async def test_asynchronously(fleet, of, spans, provider):
    async def ask(_):
        with provider.get_tracer("case").start_as_current_span("outer") as outer:
            response = await client.get("http://orders/who")
        parts = response.json()["headers"]["traceparent"].split("-")
        assert parts[1] == trace.format_trace_id(outer.context.trace_id)
        return parts[2]

    with fleet.balanced() as transport:
        traced = of.asynchronous(transport, tracer_provider=provider)
        async with of.family.AsyncClient(transport=traced) as client:
            sent = await fleet.async_calls(ask)
    assert set(sent) < ids(spans)
