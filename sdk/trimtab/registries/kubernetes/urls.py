"""Kubernetes URLs: where the API server is, and with which rights it is asked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from trimtab.errors import ConfigurationError, RegistryDeniedError
from trimtab.registries.endpoints import TLS_OPTIONS, credentials, hosts_of, tls_of
from trimtab.registries.options import digest, duration_s, flag, read_options, shown

__all__ = ["Place", "place_of", "read_url"]

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where every pod finds its token, the CA's certificate and its namespace."""
_PLACE_OPTIONS = (*TLS_OPTIONS, "tls", "token", "token_file")
_DURATIONS = {"wait": "wait_s", "timeout": "timeout_s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a registry is, and with which rights it is asked.

    Attributes:
        url: for people, without secrets.
        base: the base of the API's URLs.
        namespace: of services that are named without one.
        token: the bearer token, if it stands in the URL.
        token_file: the file with the token, if there is one.
        verify: an SSL context; False where there is no TLS.
        mark: differs when the token or the TLS options do.
    """

    url: str
    base: str
    namespace: str
    token: str | None
    token_file: Path | None
    verify: Any
    mark: str

    def headers(self) -> dict[str, str]:
        """Give the headers of one question, with the token that the file holds now.

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


def read_url(url: str) -> tuple[str, dict[str, Any], bool]:
    """Read a URL into one for `place_of`, the settings of an adapter, and whether to poll.

    Raises:
        ConfigurationError: an option is unknown or wrong.
    """
    base, _, query = url.partition("?")
    options = read_options(url, query, known=(*_PLACE_OPTIONS, *_DURATIONS, "port", "poll"))
    settings: dict[str, Any] = {
        argument: duration_s(url, options, name, 0.0)
        for name, argument in _DURATIONS.items()
        if name in options
    }
    if "port" in options:
        settings["port"] = options["port"][0]
    poll = flag(url, options, "poll")
    if poll and "wait_s" in settings:
        raise ConfigurationError(f"registry URL {shown(url)!r}: wait is for watches, not for poll")
    kept = {name: options[name][0] for name in _PLACE_OPTIONS if name in options}
    return f"{base}?{urlencode(kept)}" if kept else base, settings, poll


def place_of(url: str) -> Place:
    """Read where the API server is and how to reach it.

    Raises:
        ConfigurationError: the host, the namespace, the token or a TLS option is wrong, or no
            host is named and this is no pod.
    """
    parts = urlsplit(url)
    namespace = parts.path.strip("/")
    if parts.scheme != "kubernetes" or "/" in namespace or credentials(url):
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write kubernetes://host:port/namespace, or "
            "kubernetes:///namespace inside a cluster; it knows no user and password, use "
            "token_file="
        )
    options = read_options(url, parts.query, known=_PLACE_OPTIONS)
    if not parts.netloc:
        options = _of_the_pod(url, options)
        namespace = namespace or (_POD / "namespace").read_text().strip()
    first = {name: values[0] for name, values in options.items()}
    secure = "tls" not in options or flag(url, options, "tls")
    if not secure and (first.keys() & {*TLS_OPTIONS, "token", "token_file"}):
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: tls=0 sends everything readable for others; "
            "leave out tokens and certificates, as for kubectl proxy"
        )
    if "token" in first and "token_file" in first:
        raise ConfigurationError(f"registry URL {shown(url)!r}: give token or token_file, not both")
    host = _host(url, parts.netloc)
    namespace = namespace or "default"
    return Place(
        url=f"kubernetes://{host}/{namespace}",
        base=f"{'https' if secure else 'http'}://{host}",
        namespace=namespace,
        token=first.get("token"),
        token_file=Path(first["token_file"]) if "token_file" in first else None,
        verify=tls_of(url, options) if secure else False,
        mark=digest(sorted(first.items())),
    )


def _of_the_pod(url: str, options: dict[str, list[str]]) -> dict[str, list[str]]:
    if not (_POD / "token").exists():
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: no host, and this is no pod with a token in {_POD}; "
            "write kubernetes://host:port/namespace, or mount the pod's token"
        )
    token = {} if "token" in options else {"token_file": [str(_POD / "token")]}
    return {**token, "ca": [str(_POD / "ca.crt")], **options}


def _host(url: str, netloc: str) -> str:
    if not netloc:
        # As Kubernetes tells every pod; the name is for where nobody passed that on.
        host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    (host, number), *others = hosts_of(url, default_port=443)
    if others:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: name one API server, or what balances several"
        )
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
