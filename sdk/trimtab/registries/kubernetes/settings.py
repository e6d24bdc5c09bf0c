"""Kubernetes settings: where the API server is, and with which rights it is asked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError, RegistryDeniedError
from trimtab.hiding import shown
from trimtab.registries.members import MemberSettings
from trimtab.registries.urls import (
    TLS_OPTIONS,
    above_zero,
    credentials,
    duration_s,
    flag,
    path_of,
    places_of,
    split_options,
    tls_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KubernetesSettings"]

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where every pod finds its token, the CA's certificate and its namespace."""
_OPTIONS = (*TLS_OPTIONS, "tls", "token", "token_file", "port", "wait", "timeout", "poll")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings(MemberSettings):
    """How the API server is asked; see `MemberSettings` for the rest.

    Attributes:
        namespace: of services that are named without one.
        token: the bearer token, if it is in the URL.
        token_file: the file with the token, if there is one.
        port: a port's name or number; may be left out for services with one port.
        poll: whether lists are only read when asked for, and not watched.
        wait_s: how long a watch lasts, 1 or more.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    namespace: str = "default"
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    port: str | None = None
    poll: bool = False
    wait_s: float = 300.0

    def __post_init__(self) -> None:
        above_zero(self, "timeout_s")
        if not self.wait_s >= 1:
            raise ConfigurationError(f"{self.url}: wait_s is {self.wait_s!r}; it must be 1 or more")

    @classmethod
    def from_url(cls, url: str) -> KubernetesSettings:
        """Read `kubernetes://host:port/namespace`; without a host, this pod's server and token.

        Raises:
            ConfigurationError: the host, the namespace or an option is wrong, or no host is named
                and this is no pod.
        """
        base, options = split_options(url, known=_OPTIONS)
        namespace = path_of(base).strip("/")
        if not base.startswith("kubernetes://") or "/" in namespace or credentials(base):
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: write kubernetes://host:port/namespace, or "
                "kubernetes:///namespace inside a cluster; it knows no user and password, use "
                "token_file="
            )
        poll = flag(url, options, "poll")
        if poll and "wait" in options:
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: wait is for watches, not for poll"
            )
        in_pod = base.startswith("kubernetes:///") or base == "kubernetes://"
        if in_pod:
            options = _of_the_pod(url, options)
            namespace = namespace or (_POD / "namespace").read_text().strip()
        first = {name: values[0] for name, values in options.items()}
        secure = _is_secure(url, options)
        host, namespace = _host(url, in_pod=in_pod), namespace or "default"
        port = first.get("port")
        return cls(
            url=f"kubernetes://{host}/{namespace}" + (f"?port={port}" if port else ""),
            bases=(f"{'https' if secure else 'http'}://{host}",),
            tls=tls_of(url, options) if secure else None,
            namespace=namespace,
            token=first.get("token"),
            token_file=Path(first["token_file"]) if "token_file" in first else None,
            port=port,
            poll=poll,
            wait_s=duration_s(url, options, "wait", 300.0),
            timeout_s=duration_s(url, options, "timeout", 10.0),
        )

    def headers(self) -> dict[str, str]:
        """Return the headers of one question, with the token that the file holds now.

        Raises:
            RegistryDeniedError: the file cannot be read.
        """
        token = self.token
        if self.token_file is not None:
            try:
                token = self.token_file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise RegistryDeniedError(
                    f"{self.url}: the token cannot be read: {error}; mount it, or name another "
                    "by token_file="
                ) from None
        return {"Authorization": f"Bearer {token}"} if token else {}


def _is_secure(url: str, options: Mapping[str, list[str]]) -> bool:
    """Tell whether TLS is on, and refuse secrets where it is off."""
    secure = "tls" not in options or flag(url, options, "tls")
    if not secure and (options.keys() & {*TLS_OPTIONS, "token", "token_file"}):
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: tls=0 sends everything readable for others; "
            "leave out tokens and certificates, as for kubectl proxy"
        )
    if "token" in options and "token_file" in options:
        raise ConfigurationError(f"registry URL {shown(url)!r}: give token or token_file, not both")
    return secure


def _of_the_pod(url: str, options: dict[str, list[str]]) -> dict[str, list[str]]:
    if not (_POD / "token").exists():
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: no host, and this is no pod with a token in {_POD}; "
            "write kubernetes://host:port/namespace, or mount the pod's token"
        )
    token = {} if "token" in options else {"token_file": [str(_POD / "token")]}
    return {**token, "ca": [str(_POD / "ca.crt")], **options}


def _host(url: str, *, in_pod: bool) -> str:
    if in_pod:
        # Kubernetes sets these in every pod; the name is for programs that do not pass them on.
        host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    place, *others = places_of(url, default_port=443)
    if others:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: name one API server, or what balances several"
        )
    return place
