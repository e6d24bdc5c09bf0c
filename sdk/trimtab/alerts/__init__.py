"""Alerts: few messages to people about faults of instances, services and registries.

    async with Alerter("mailto://me:secret@example.com", "slack://...") as alerter:
        transport = BalancedTransport("consul://", listener=alerter)

`conditions` reads events, `digest` folds them into messages and decides when each is due (both
without I/O), `senders` carry messages, and `alerter` joins them, off every request's path.
"""

from __future__ import annotations

from trimtab.alerts.alerter import Alerter
from trimtab.alerts.digest import Alert, AlertSettings, Digest
from trimtab.alerts.senders import Sender

__all__ = ["Alert", "AlertSettings", "Alerter", "Digest", "Sender"]
