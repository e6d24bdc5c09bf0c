"""Private names of httpx and httpcore are not used, where a rename there would break us."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trimtab

ROOT = Path(trimtab.__file__).parent
FOREIGN = {
    "_pool",
    "_network_backend",
    "_requests",
    "_connections",
    "_transport",
    "_transport_for_url",
    "_mounts",
    "_uri_reference",
    "_list",
    "_encoding",
    "_ssl_context",
    "_stream",
    "_connection",
    "_request_stack",
    "_raise_on_timeout",
}
"""Private names of the libraries beneath that this package has used, or could be tempted to use."""

ALLOWED = {"transports/preparing.py": {"_uri_reference", "_list", "_encoding"}}
"""The fast path, which has a public way to fall back on; see `test_transport_preparing`."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MODULES = sorted(ROOT.rglob("*.py"))


def foreign_names(source):
    """Private attributes of anything but `self` and `cls`, and those named by strings."""
    tree = ast.parse(source)
    own = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"self", "cls"}
        and isinstance(node.ctx, ast.Store)
    }
    own |= {node.name for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in FOREIGN:
            base = node.value
            is_own = isinstance(base, ast.Name) and base.id in {"self", "cls"} and node.attr in own
            if not is_own:
                yield node.attr
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"getattr", "setattr"}:
            for argument in node.args[1:2]:
                if isinstance(argument, ast.Constant) and argument.value in FOREIGN:
                    yield argument.value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_uses_private_names_of_the_libraries_beneath(path):
    found = set(foreign_names(path.read_text()))
    allowed = ALLOWED.get(str(path.relative_to(ROOT)), set())
    assert found <= allowed, f"{path}: {sorted(found - allowed)}"


def test_the_search_finds_what_it_looks_for():
    source = """
class A:
    def __init__(self, transport):
        self._pool = transport
    def a(self):
        return self._pool, self._requests, self._pool._network_backend
def b(transport):
    return transport._pool._requests, getattr(transport, "_ssl_context")
"""
    found = sorted(foreign_names(source))
    assert found == ["_network_backend", "_pool", "_requests", "_requests", "_ssl_context"]
