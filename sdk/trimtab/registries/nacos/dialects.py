"""The versions of Nacos's open API: the same words at other places. No I/O.

Source: nacos.io, "Open API Guide" of versions 1 to 3, and the controllers of alibaba/nacos where
it is silent: version 2's heartbeat, which it leaves out, wants the group in the service's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DIALECTS", "Dialect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Where a version of the API has what.

    Attributes:
        instances: the path of instances.
        clusters: what the parameter is called that names clusters of a list.
        beat: method and path of the heartbeat.
        beat_params: what says that it is one.
        beat_names_group: whether the heartbeat's service name holds the group.
        login: the path of the login.
        services: the path that names all services; "" where clients may not ask.
    """

    instances: str
    clusters: str = "clusterName"
    beat: tuple[str, str]
    beat_params: Mapping[str, str] = field(default_factory=dict)
    beat_names_group: bool = False
    login: str = "/v1/auth/login"
    services: str = ""


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "v1": Dialect(
            instances="/v1/ns/instance",
            clusters="clusters",
            beat=("PUT", "/v1/ns/instance/beat"),
            beat_names_group=True,
            services="/v1/ns/service/list",
        ),
        "v2": Dialect(
            instances="/v2/ns/instance",
            beat=("PUT", "/v2/ns/instance/beat"),
            beat_names_group=True,
            services="/v2/ns/service/list",
        ),
        "v3": Dialect(
            instances="/v3/client/ns/instance",
            beat=("POST", "/v3/client/ns/instance"),
            beat_params={"heartBeat": "true"},
            login="/v3/auth/user/login",
        ),
    }
)
