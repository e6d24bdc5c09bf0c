"""Transports for httpx and httpx2: thin around the request machine.

`balanced` is the public `BalancedTransport`. `delivery` is one HTTP request of a caller,
`preparing` addresses it to an instance, `options` are its own wishes. `sides` keep services and
connections per family and event loop, `connections` the inner transports.
"""

from trimtab.transports.balanced import BalancedTransport
from trimtab.transports.delivery import CallInfo
from trimtab.transports.options import RequestOptions

__all__ = ["BalancedTransport", "CallInfo", "RequestOptions"]
