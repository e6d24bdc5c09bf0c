"""`kubernetes://`: the EndpointSlices of a service, listed and watched at the API server.

kubernetes:///                          inside a cluster: server, token, CA and namespace of the pod
kubernetes:///shop?port=http            services of the namespace `shop`, their port named `http`
kubernetes://10.0.0.1:6443/shop?token_file=/run/token&ca=/run/ca.crt
kubernetes://127.0.0.1:8001/shop?tls=0  through `kubectl proxy`

| option                        | what it says                                                   |
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
"""

from __future__ import annotations

from trimtab.registries.kubernetes.polled import KubernetesPolledRegistry
from trimtab.registries.kubernetes.urls import read_url
from trimtab.registries.kubernetes.watched import KubernetesRegistry

__all__ = ["KubernetesPolledRegistry", "KubernetesRegistry", "from_url"]


def from_url(url: str) -> KubernetesPolledRegistry:
    """Make the registry that the URL describes; it can be watched unless it says `poll`.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    base, settings, poll = read_url(url)
    return (KubernetesPolledRegistry if poll else KubernetesRegistry)(base, **settings)
