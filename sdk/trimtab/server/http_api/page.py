"""The page at `/`: services and instances with their state, for people."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse

from trimtab.server import views
from trimtab.server.http_api.queries import state_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from trimtab.server.views import HealthEntry

_MAX_ROWS = 1000
_SEVERITY = {"passing": 0, "warning": 1}
_WORST = 2  # external checks may have a status that is no word of Consul's
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8888 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere }
th, small, .none { color: var(--soft); font-weight: 500 }
.passing { color: #17803d } .warning { color: #b45309 } .critical { color: #c81e1e }
"""


async def overview(request: Request) -> HTMLResponse:
    """GET /: one table per service; reloads itself every five seconds."""
    state, rows, parts = state_of(request), 0, []
    for name in sorted(state.catalog.by_name):
        entries = views.health_entries(state.catalog, name)
        rows += len(entries)
        parts.append(_service(name, entries[: max(0, _MAX_ROWS - rows + len(entries))]))
    numbers = (_counted(len(parts), "service"), _counted(rows, "instance"))
    count = f"{', '.join(numbers)}, index {state.catalog.indexes.last}"
    if rows > _MAX_ROWS:
        count += f"; the first {_MAX_ROWS} instances are shown"
    body = "".join(parts) or "<p class=none>No service is registered yet.</p>"
    return HTMLResponse(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Trimtab registry</title>"
        "<meta name=viewport content='width=device-width'><meta http-equiv=refresh content=5>"
        f"<style>{_STYLE}</style><h1>Trimtab registry</h1><small>{count}</small>{body}</html>",
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _service(name: str, entries: list[HealthEntry]) -> str:
    rows = "".join(map(_instance, entries))
    return (
        f"<h2>{escape(name)}</h2><table><tr><th>instance<th>address<th>status<th>weight"
        f"<th>tags<th>checks</tr>{rows}</table>"
    )


def _instance(entry: HealthEntry) -> str:
    service = entry.service
    statuses = [check.status for check in entry.checks]
    status = max(statuses, key=lambda each: _SEVERITY.get(each, _WORST), default="passing")
    kind = status if status in _SEVERITY else "critical"
    checks = "; ".join(
        f"{check.name}: {check.output.strip()[:200] or check.status}"
        for check in entry.checks
        if check.service_id
    )
    host = service.address or entry.node.address
    address = f"[{host}]:{service.port}" if ":" in host else f"{host}:{service.port}"
    return (
        f"<tr><td>{escape(service.id)}<td>{escape(address)}<td class={kind}>{escape(status)}"
        f"<td>{service.weights.passing}<td>{escape(', '.join(service.tags))}"
        f"<td><small>{escape(checks)}</small></tr>"
    )
