"""HTTP to one instance, for httpx and httpx2, sync and async, over httpcore's public API.

`inner` has the transports and `backends` their network: who may be called, and what a cancelled
handshake leaves behind. `families` names what differs between httpx and httpx2, `tls` builds the
one TLS context, and `making` makes the transport of an instance from the user's settings.
"""

from trimtab.http.backends import OPENED
from trimtab.http.families import Family, family_of, usual_family
from trimtab.http.inner import (
    AsyncInnerTransport,
    Body,
    InnerTransport,
    async_body,
    native_cancellations,
    sync_body,
)
from trimtab.http.making import Maker
from trimtab.http.tls import Certificate, SharedContext, tls_context

__all__ = [
    "OPENED",
    "AsyncInnerTransport",
    "Body",
    "Certificate",
    "Family",
    "InnerTransport",
    "Maker",
    "SharedContext",
    "async_body",
    "family_of",
    "native_cancellations",
    "sync_body",
    "tls_context",
    "usual_family",
]
