"""`kubernetes://`: the EndpointSlices of a service, listed and watched at the API server.

kubernetes:///                          inside a cluster: server, token, CA and namespace of the pod
kubernetes:///shop?port=http            services of the namespace `shop`, their port named `http`
kubernetes://10.0.0.1:6443/shop?token_file=/run/token&ca=/run/ca.crt
kubernetes://127.0.0.1:8001/shop?tls=0  through `kubectl proxy`

| option                        | meaning                                                        |
|-------------------------------|----------------------------------------------------------------|
| `port`                        | a port's name or number; needed where a service has several    |
| `token`, `token_file`         | the bearer token; a file is read again for each question, since |
|                               | tokens of pods are renewed every hour                          |
| `ca`, `cert`, `key`, `verify` | TLS, also with a client certificate; `tls=0` for plain HTTP    |
| `wait=5m`                     | how long a watch lasts before the whole list is read again     |
| `timeout=10s`                 | bound on a question that is no watch                           |
| `poll`                        | do not watch; let discovery poll at its own interval           |

A service may be named with its namespace: `orders.shop`, `orders.shop.svc.cluster.local`. The
token needs `list` and `watch` on `endpointslices` of the group `discovery.k8s.io`.

Tested against recorded answers, not a real server.

`settings` reads the URL; `reader` lists and watches, `slices` translates EndpointSlices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.registries.kubernetes.reader import KubernetesReader, KubernetesWatch
from trimtab.registries.kubernetes.settings import KubernetesSettings
from trimtab.registries.protocol import ComposedRegistry

if TYPE_CHECKING:
    from random import Random

__all__ = ["KubernetesSettings", "from_url", "make"]


def from_url(url: str) -> ComposedRegistry:
    """Make the registry that the URL describes; it can be watched unless it says `poll`.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    return make(KubernetesSettings.from_url(url))


def make(settings: KubernetesSettings, *, rng: Random | None = None) -> ComposedRegistry:
    """Make the registry; `rng` spreads the lengths of watches.

    Raises:
        ConfigurationError: a file of `tls` cannot be read.
    """
    asker = settings.asker(settings.url, settings.context(), {"Accept": "application/json"})
    reader = KubernetesReader(settings, asker)
    watch = None if settings.poll else KubernetesWatch(settings, asker, reader, rng=rng)
    return ComposedRegistry(settings, reader, watch=watch)
