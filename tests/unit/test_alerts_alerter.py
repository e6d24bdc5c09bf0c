"""The alerter in virtual time: messages apart from the emitters, senders that fail."""

import asyncio
import logging
import threading

import pytest

from trimtab import ConfigurationError, Instance, Status
from trimtab.alerts import Alerter, AlertSettings
from trimtab.events import InstanceChanged
from trimtab_sim.loop import run

ME = Instance(host="10.0.0.7", port=8080)


def turn(status="critical", instance=ME):
    instance = instance.with_(status=Status(status))
    return InstanceChanged(service="orders", instance=instance, kind="status", after=status)


class Sent:
    """A sender that notes what it is given, and fails for a while."""

    name = "the test"

    def __init__(self, *, failures=0, hangs=False):
        self.alerts, self.at, self.tries = [], [], 0
        self.failures, self.hangs = failures, hangs

    async def __call__(self, alert):
        self.tries += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.tries <= self.failures:
            raise OSError("no route")
        self.alerts.append(alert)
        self.at.append(asyncio.get_running_loop().time())


def test_events_become_few_messages():
    async def main():
        sent = Sent()
        async with Alerter(sent) as alerter:
            await asyncio.sleep(100)
            alerter(turn())
            await asyncio.sleep(3)
            alerter(turn("passing"))
            alerter(turn("critical"))
            await asyncio.sleep(100)
            alerter(turn("passing"))
            await asyncio.sleep(100)
        return sent

    sent = run(main())
    assert sent.at == [105.0, 208.0]
    assert [alert.kind for alert in sent.alerts] == ["fault", "recovery"]


def test_leaving_sends_the_messages_that_still_wait():
    async def main():
        sent = Sent()
        async with Alerter(sent) as alerter:
            alerter(turn())
        await alerter.stop()
        assert len(asyncio.all_tasks()) == 1
        return sent

    sent = run(main())
    assert [alert.title for alert in sent.alerts] == ["orders: 10.0.0.7:8080: critical"]
    assert sent.at == [0.0]


def test_leaving_without_messages_is_quick():
    async def main():
        async with Alerter(Sent()):
            pass
        return asyncio.get_running_loop().time()

    assert run(main()) == 0.0


def test_a_plain_function_is_a_sender():
    sent = []

    async def main():
        async with Alerter(sent.append, settings=AlertSettings(quiet_s=0.0)) as alerter:
            alerter(turn())
            await asyncio.sleep(0)
            await asyncio.sleep(1)
            return len(sent)

    assert run(main()) == 1


def test_a_sender_that_fails_is_called_again_and_harms_no_other(caplog):
    async def main():
        bad, good = Sent(failures=2), Sent()
        async with Alerter(bad, good) as alerter:
            alerter(turn())
            await asyncio.sleep(30)
        return bad, good

    bad, good = run(main())
    assert good.at == [5.0]
    assert len(bad.alerts) == 1
    assert 7.0 <= bad.at[0] <= 10.0
    assert caplog.text == ""


def test_a_sender_that_always_fails_is_logged_once(caplog):
    async def main():
        sent = Sent(failures=99)
        async with Alerter(sent) as alerter:
            alerter(turn())
            await asyncio.sleep(60)
        return sent.tries

    assert run(main()) == 3
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.message == (
        "alert not sent by the test: orders: 10.0.0.7:8080: critical; OSError: no route"
    )


def test_a_sender_that_hangs_is_cancelled_and_does_not_delay_others(caplog):
    async def main():
        hanging, good = Sent(hangs=True), Sent()
        async with Alerter(hanging, good) as alerter:
            alerter(turn())
            await asyncio.sleep(120)
            assert hanging.tries == 3
            alerter(turn("passing"))
            await asyncio.sleep(6)
            left_at = asyncio.get_running_loop().time()
        assert len(good.alerts) == 2
        return asyncio.get_running_loop().time() - left_at

    assert run(main()) == 10.0
    assert "not sent within 30 s" in caplog.text
    assert "closed before it was sent" in caplog.text


def test_an_event_that_cannot_be_read_is_logged_and_the_rest_is_sent(caplog):
    async def main():
        sent = Sent()
        async with Alerter(sent) as alerter:
            alerter("no event")
            alerter(turn())
            await asyncio.sleep(6)
        return sent

    assert len(run(main()).alerts) == 1
    assert "cannot be read: 'no event'" in caplog.text


def test_events_from_before_it_began_and_after_it_ended():
    async def main():
        sent = Sent()
        alerter = Alerter(sent)
        alerter(turn())
        async with alerter:
            await asyncio.sleep(6)
        alerter(turn("passing"))
        await asyncio.sleep(100)
        return sent

    assert len(run(main()).alerts) == 1


def test_synchronous_programs_and_other_threads(wait_until):
    sent = Sent()
    with Alerter(sent, settings=AlertSettings(quiet_s=0.05)) as alerter:
        thread = threading.Thread(target=alerter, args=(turn(),))
        thread.start()
        thread.join()
        wait_until(lambda: sent.alerts)
    assert [alert.title for alert in sent.alerts] == ["orders: 10.0.0.7:8080: critical"]


def test_an_event_for_a_loop_that_has_ended_is_only_logged(caplog):
    async def main():
        alerter = Alerter(Sent())
        await alerter.start()
        return alerter

    asyncio.run(main())(turn())
    assert "orders: event dropped" in caplog.text


def test_an_alerter_without_senders_is_refused():
    with pytest.raises(ConfigurationError, match="has no sender"):
        Alerter()


def test_its_repr_names_senders_without_secrets():
    async def main():
        alerter = Alerter("https://example.com/T0P53CR37", Sent())
        before = repr(alerter)
        async with alerter:
            return before, repr(alerter)

    assert run(main()) == (
        "<Alerter closed, to webhook https://..., the test>",
        "<Alerter open, to webhook https://..., the test>",
    )
