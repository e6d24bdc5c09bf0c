"""Alerts: events of instances, services and registries as a few messages to people.

    async with Alerter("mailto://me:secret@example.com", "slack://...") as alerter:
        transport = BalancedTransport("consul://", listener=alerter)

`digest` decides when to tell what, without I/O; `alerter` sends it, off every request's path.
"""

from __future__ import annotations

from trimtab.alerts.alert import Alert
from trimtab.alerts.alerter import Alerter
from trimtab.alerts.digest import Digest
from trimtab.alerts.senders import Sender
from trimtab.alerts.settings import AlertSettings

__all__ = ["Alert", "AlertSettings", "Alerter", "Digest", "Sender"]
