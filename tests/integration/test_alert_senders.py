"""Alerts arrive: by e-mail at a real SMTP server, at a webhook, and at a service of apprise."""

import asyncio
import email
import email.policy
import json
import logging
import sys
from contextlib import asynccontextmanager, suppress

import pytest
from aiosmtpd.smtp import SMTP

from trimtab import ConfigurationError, Instance, Status
from trimtab.alerts import Alert, Alerter, AlertSettings
from trimtab.alerts.senders import SendingError, name_of, sender_of
from trimtab.events import InstanceChanged

FAULT = Alert(
    service="orders",
    kind="fault",
    title="orders: 2 faults",
    lines=("10.0.0.1:80: critical (HTTP 503)", "10.0.0.2:80: ejected"),
    events=5,
)
SECRETS = ("hunter2", "T0P53CR37")


class Mailbox:
    """Takes what an SMTP server is given."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - as aiosmtpd has it
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 Taken"


@asynccontextmanager
async def smtp():
    """A real SMTP server, in this loop."""
    mailbox, loop = Mailbox(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", 0)
    async with server:
        yield mailbox, server.sockets[0].getsockname()[1]


@asynccontextmanager
async def web(status=200):
    """An HTTP server that takes what it is posted."""
    posted = []

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1])
            for line in head.splitlines()
            if line.lower().startswith("content-length:")
        )
        posted.append((head.split()[1], json.loads(await reader.readexactly(length))))
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok".encode())
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield posted, server.sockets[0].getsockname()[1]


def test_by_e_mail():
    async def main():
        async with smtp() as (mailbox, port):
            url = f"mailto://127.0.0.1:{port}?from=registry@example.com&to=me@example.com"
            sender = sender_of(f"{url}&mode=insecure")
            await sender(FAULT)
            return sender, mailbox.mails

    sender, ((to, mail),) = asyncio.run(main())
    assert to == ["me@example.com"]
    assert mail["Subject"] == "orders: 2 faults"
    assert "registry@example.com" in mail["From"]
    text = mail.get_body(("plain",)).get_content()
    assert text.splitlines()[:2] == [*FAULT.lines]
    assert name_of(sender) == "E-Mail (mailto://...)"


def test_by_webhook():
    async def main():
        async with web() as (posted, port):
            await sender_of(f"http://127.0.0.1:{port}/hooks/T0P53CR37?a=1")(FAULT)
            return posted

    assert asyncio.run(main()) == [
        (
            "/hooks/T0P53CR37?a=1",
            {
                "service": "orders",
                "kind": "fault",
                "title": "orders: 2 faults",
                "lines": [*FAULT.lines],
                "events": 5,
            },
        )
    ]


@pytest.mark.parametrize(
    ("kind", "shown"), [("fault", "failure"), ("recovery", "success"), ("notice", "warning")]
)
def test_by_a_service_of_apprise(kind, shown):
    alert = Alert(service="orders", kind=kind, title="a title", lines=("a", "b"), events=2)

    async def main():
        async with web() as (posted, port):
            await sender_of(f"json://me:hunter2@127.0.0.1:{port}/T0P53CR37")(alert)
            return posted

    ((path, message),) = asyncio.run(main())
    assert path == "/T0P53CR37"
    assert (message["title"], message["message"], message["type"]) == ("a title", "a\nb", shown)


def test_a_chats_webhook_address_is_known():
    hook = "https://hooks.slack.com/services/T00000000/B00000000/" + "X" * 24
    assert name_of(sender_of(hook)) == "Slack (https://...)"


def status_event(status):
    instance = Instance(host="10.0.0.7", port=80, status=Status(status))
    return InstanceChanged(service="orders", instance=instance, kind="status", after=status)


def test_from_events_to_all_senders_at_once():
    async def main():
        async with smtp() as (mailbox, mail_port), web() as (posted, web_port):
            urls = (
                f"mailto://127.0.0.1:{mail_port}?from=a@b.example&to=me@b.example&mode=insecure",
                f"http://127.0.0.1:{web_port}/hook",
            )
            async with Alerter(*urls, settings=AlertSettings(quiet_s=0.0)) as alerter:
                alerter(status_event("critical"))
            return mailbox.mails, posted

    mails, posted = asyncio.run(main())
    title = "orders: 10.0.0.7:80: critical"
    assert [mail["Subject"] for _, mail in mails] == [title]
    assert [message["title"] for _, message in posted] == [title]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://me:hunter2@127.0.0.1:{port}/T0P53CR37", "it answered 500 X"),
        ("http://me:hunter2@127.0.0.1:1/T0P53CR37", "ConnectError: All connection attempts"),
        ("json://me:hunter2@127.0.0.1:{port}/T0P53CR37", "its log (logger 'apprise')"),
        (
            "mailto://me:hunter2@127.0.0.1:1?from=a@b.example&to=a@b.example&mode=insecure",
            "apprise could not",
        ),
    ],
)
def test_failures_name_the_sender_and_no_secret(url, reason, caplog):
    caplog.set_level(logging.INFO)

    async def main():
        async with web(500) as (_, port):
            sender = sender_of(url.format(port=port))
            with pytest.raises(SendingError) as caught:
                await sender(FAULT)
            return f"{name_of(sender)} {caught.value}"

    said = asyncio.run(main())
    assert reason in said
    assert not [each for each in SECRETS if each in said + caplog.text]


@pytest.mark.parametrize(
    "url",
    [
        *("nonsense://hunter2", "slack://hunter2", "hunter2", "", "http://", "https://[hunter2"),
        *("mailto://", "http:///T0P53CR37"),
    ],
)
def test_invalid_urls_are_refused_without_their_secrets(url, caplog):
    with pytest.raises(ConfigurationError, match="alerts by ") as caught:
        sender_of(url)
    assert not [each for each in SECRETS if each in str(caught.value) + caplog.text]


def test_without_apprise_there_are_webhooks(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert name_of(sender_of("https://example.com/T0P53CR37")) == "webhook https://..."
    with pytest.raises(ConfigurationError, match=r"pip install 'trimtab\[alerts\]'"):
        sender_of("mailto://me:hunter2@example.com")
