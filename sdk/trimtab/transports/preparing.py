"""From a request to a service to one to an instance, and the answer's way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = ["NamePolicy", "prepared", "restore_location"]

NamePolicy: TypeAlias = Literal["instance", "service"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


def prepared(request: Any, instance: Instance, *, host: NamePolicy, server_name: NamePolicy) -> Any:
    """Return a copy of the request that is addressed to the instance.

    The caller's request is left as it is: redirects, cookies and hooks go by its URL. A `Host`
    header of the caller's own choice stays.

    Args:
        request: the caller's request to the service.
        instance: where it is to go.
        host: whose name the `Host` header carries.
        server_name: whose name TLS asks for and checks the certificate against.
    """
    url = request.url.copy_with(
        scheme=instance.scheme or request.url.scheme, host=instance.host, port=instance.port
    )
    # A Request's constructor would encode the body and build every header again, at 25 to 33 us.
    copy = object.__new__(type(request))
    copy.__dict__.update(request.__dict__)
    copy.url = url
    if host == "instance":
        before = request.url.netloc
        headers = request.headers
        if headers.get("host", "").encode("ascii", "replace") == before:
            copy.headers = headers.copy()
            copy.headers["host"] = url.netloc.decode("ascii")
    if server_name == "service" and url.scheme == "https":
        copy.extensions = {"sni_hostname": request.url.host, **request.extensions}
    return copy


def restore_location(response: Any, request: Any, sent: Any) -> None:
    """Turn an absolute redirect to the instance itself into one to the service.

    A server that builds its redirects from the `Host` header names itself; followed as it is,
    the redirect would leave the balanced name behind.
    """
    location = response.headers.get("location")
    if not location:
        return
    try:
        target = type(sent.url)(location)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the client will say so
        return
    if target.host and _origin(target) == _origin(sent.url):
        here = request.url
        response.headers["location"] = str(
            target.copy_with(scheme=here.scheme, host=here.host, port=here.port)
        )


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or _DEFAULT_PORTS.get(url.scheme)
