"""The public names: one sorted list, and words for each of them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType
from typing import get_origin

import pytest

import trimtab

PACKAGES = [
    name
    for _, name, is_package in pkgutil.walk_packages(trimtab.__path__, "trimtab.")
    if is_package and ".cli" not in name
]


def test_the_list_is_what_the_package_offers():
    offered = {
        name
        for name, value in vars(trimtab).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(trimtab.__all__) == offered


@pytest.mark.parametrize("module", ["trimtab", *PACKAGES])
def test_every_list_is_sorted_and_true(module):
    package = importlib.import_module(module)
    names = getattr(package, "__all__", [])
    assert all(hasattr(package, name) for name in names)
    assert len(names) == len(set(names))
    # Constants, then classes, then functions: as ruff (RUF022) sorts.
    assert names == sorted(names, key=lambda name: (_kind(name), name))


@pytest.mark.parametrize("name", trimtab.__all__)
def test_every_public_thing_has_words(name):
    thing = getattr(trimtab, name)
    if not callable(thing) or get_origin(thing):  # An alias of a type cannot have words.
        return
    assert inspect.getdoc(thing), name
    if inspect.isclass(thing):
        for method_name, method in vars(thing).items():
            public = not method_name.startswith("_")
            if public and (inspect.isfunction(method) or isinstance(method, property)):
                assert inspect.getdoc(method), f"{name}.{method_name}"


def test_importing_starts_and_opens_nothing():
    program = (
        "import sys, threading, trimtab; "
        "assert threading.active_count() == 1; "
        "assert 'httpx2' not in sys.modules and 'uvicorn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def _kind(name):
    if name.isupper():
        return 0
    return 1 if name[:1].isupper() else 2
