"""kazoo made ours: what it logs, how it connects, and its errors in our words."""

from __future__ import annotations

import errno
import logging
import socket
import struct

import pytest
from kazoo import exceptions as kazoo_errors
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.serialization import SASL, Auth, Connect, Exists

from trimtab.errors import (
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries.zookeeper import ZooKeeperSettings
from trimtab.registries.zookeeper.ensemble import in_our_words
from trimtab.registries.zookeeper.session import Quiet, make_client

LOGGER = "trimtab.registries.zookeeper"


@pytest.fixture
def quiet(caplog):
    caplog.set_level(1, LOGGER)
    return Quiet(logging.getLogger(LOGGER))


def test_kazoos_warnings_are_details_and_the_last_is_remembered(quiet, caplog):
    quiet.warning("Connection dropped: %s", "refused")
    quiet.warning("Transition to CONNECTING")
    quiet.info("Connecting to %s", "h")
    assert quiet.last == "Connection dropped: refused"
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_kazoos_errors_stay_errors(quiet, caplog):
    quiet.error("Unhandled exception in connection loop")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_no_secret_of_kazoos_requests_is_logged(quiet, caplog):
    for request in (
        Auth(0, "digest", "user:s3cr3t"),
        SASL(b"s3cr3t"),
        Connect(0, 0, 4000, 1, b"s3cr3t", False),
    ):
        quiet.debug("Sending request(xid=%s): %s", 1, request)
    quiet.log(5, "Using session_id: %r session_passwd: %s", 1, "s3cr3t")
    assert caplog.records == []
    quiet.debug("Sending request(xid=%s): %s", 1, Exists("/a", None))
    assert len(caplog.records) == 1


def test_the_user_goes_by_digest_or_by_sasl_and_never_by_both():
    by_digest = make_client(ZooKeeperSettings(url="zk://h:1", hosts="h:1", user=("u", "p:q")), 4)
    assert by_digest.auth_data == {("digest", "u:p:q")}
    assert by_digest._connection.sasl_options is None
    by_sasl = make_client(
        ZooKeeperSettings(url="zk://h:1", hosts="h:1", user=("u", "p"), sasl=True), 4
    )
    assert by_sasl.auth_data == set()
    assert by_sasl._connection.sasl_options["username"] == "u"


def test_a_member_that_cannot_be_reached_costs_two_seconds_and_says_so(monkeypatch):
    asked = []

    def create_connection(address, timeout):
        asked.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", create_connection)
    handler = make_client(ZooKeeperSettings(url="zk://h:1", hosts="h:1"), 60).handler
    with pytest.raises(OSError, match="timed out") as caught:
        handler.create_connection(("h", 1), timeout=60.0, hostname="h", use_ssl=False)
    assert (asked, caught.value.errno) == ([2.0], errno.ETIMEDOUT)


def test_a_member_that_does_not_answer_costs_two_seconds(monkeypatch):
    asked = []
    monkeypatch.setattr(
        SequentialThreadingHandler, "select", lambda self, *args: asked.append(args[3]) or args[:3]
    )
    select = make_client(ZooKeeperSettings(url="zk://h:1", hosts="h:1"), 60).handler.select
    for readers, timeout in (([1], 30.0), ([1], 0.5), ([1], None), ([1, 2], 30.0), ([], 30.0)):
        select(readers, [], [], timeout)
    assert asked == [2.0, 0.5, None, 30.0, 30.0]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (kazoo_errors.NoAuthError(), RegistryDeniedError),
        (kazoo_errors.AuthFailedError(), RegistryDeniedError),
        (kazoo_errors.SessionClosedRequireSaslError(), RegistryDeniedError),
        (kazoo_errors.InvalidACLError(), RegistryDeniedError),
        (kazoo_errors.ConnectionLoss(), RegistryUnavailableError),
        (kazoo_errors.SessionExpiredError(), RegistryUnavailableError),
        (kazoo_errors.ThrottledOpError(), RegistryUnavailableError),
        (kazoo_errors.QuotaExceededError(), RegistryUnavailableError),
        (kazoo_errors.BadArgumentsError(), RegistryRequestError),
        (kazoo_errors.NoChildrenForEphemeralsError(), RegistryRequestError),
        (struct.error("torn"), RegistryAnswerError),
        (RegistryUnavailableError("contended"), RegistryUnavailableError),
        (RegistryDeniedError("refused"), RegistryDeniedError),
    ],
)
def test_kazoos_errors_in_our_words(error, kind):
    ours = in_our_words("the place", error)
    assert type(ours) is kind
    assert str(ours).startswith("the place: ")
