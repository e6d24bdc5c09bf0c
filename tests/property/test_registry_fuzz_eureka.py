"""Whatever a Eureka server says: a list, with the unreadable named, or an error of ours."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from garbage import garbled
from registry_kit import recorded
from trimtab.errors import RegistryAnswerError
from trimtab.registries.eureka.entries import read_application, read_names

ONE, ALL = (recorded(f"eureka/{name}") for name in ("application", "applications"))
GOOD = json.dumps(ONE).encode()


def read(body):
    try:
        instances, skipped = read_application("here", body, prefer_ip=False)
    except RegistryAnswerError:
        return None
    assert len({each.id for each in instances}) == len(instances)
    assert instances or not skipped
    return len(instances) + len(skipped)


@given(garbled(ONE))
def test_an_application_with_anything_anywhere(answer):
    count = read(json.dumps(answer).encode())
    if count is not None and isinstance(answer["application"].get("instance"), list):
        assert count == len(answer["application"]["instance"])


@given(garbled(ALL))
def test_all_applications_with_anything_anywhere(answer):
    try:
        names = read_names("here", json.dumps(answer).encode())
    except RegistryAnswerError:
        return
    assert names == sorted(names)


@given(st.binary(max_size=99), st.integers(0, len(GOOD)))
def test_bytes(garbage, length):
    read(garbage)
    read(GOOD[:length] + garbage)
