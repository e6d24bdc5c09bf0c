"""`http(s)://host/path/{service}`: any endpoint that answers with a JSON list of instances.

The usual names of fields are known, `ip` or `ServiceAddress` for the host among them. A mapping
says where other fields of an instance are in the answer. In a URL it follows the `#`, which is
never sent::

    https://inventory.example/v2/{service}?env=prod#items=data.instances&host=ip&port=ports.0
    https://inventory.example/v2/{service}#status_words=fine:passing,ailing:critical

Polled, conditionally where the server gives an ETag or a Last-Modified.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx
from cachetools import LRUCache

from trimtab.errors import (
    ConfigurationError,
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryError,
    RegistryRequestError,
)
from trimtab.hiding import shown
from trimtab.registries.asking import Answer, Asker, parse_any, parse_json, refusal
from trimtab.registries.entries import (
    FIELDS,
    Complaints,
    StatusWords,
    gather,
    priority_of,
    read_entry,
    usual_fields,
)
from trimtab.registries.members import MemberSettings
from trimtab.registries.protocol import ComposedRegistry, Listing
from trimtab.registries.urls import Tls, above_zero, duration_s, read_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trimtab.instance import Instance

__all__ = ["HttpReader", "HttpSettings", "from_url", "make"]

_MAX_SERVICES_REMEMBERED = 4096
_MISSING = object()
_WHERE = ("host", "address")
_BARE_PATHS = {"", "/", "/ui", "/ui/", "/v1", "/v1/"}


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last full answer about a service, and what to ask "changed since?" with."""

    listing: Listing
    conditions: dict[str, str]
    polls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings(MemberSettings):
    """How an endpoint is asked, and how its answer is read.

    Attributes:
        template: the endpoint's URL; `{service}` in it stands for the service's name.
        mapping: dotted paths in an entry per field of an instance (`{"host": "ip", "port":
            "ports.0"}`; also `address`, which is `host:port` in one), or a callable that makes
            entries of the whole answer. Fields without a path are read by their usual names; what
            has another name is ignored.
        status_words: the meanings of words for the status of an instance, beside the common ones:
            `{"fine": "passing"}`. A word without a meaning is logged and counts as critical.
        items: the dotted path to the list in the answer; "" when the answer is the list. May
            also hold `{service}`.
        services_url: an endpoint that answers with the names of all services: a list of names,
            or a table with them as keys.
        token: sent as a bearer token.
        auth: any httpx authentication, instead.
        headers: sent with every question.
        revalidate_every: ask unconditionally every so many polls: servers whose ETag is made of
            the second and the size miss a change within the same second.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    url: str = ""
    bases: tuple[str, ...] = ()
    template: str = field(repr=False)
    mapping: Mapping[str, str] | Callable[[Any], Iterable[Any]] | None = None
    status_words: Mapping[str, str] | None = None
    items: str = ""
    services_url: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    auth: Any = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    max_bytes: int = 16 * 2**20
    revalidate_every: int = 30

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", shown(self.template))
        if self.tls is None and "https://" in f"{self.template} {self.services_url}":
            object.__setattr__(self, "tls", Tls())
        above_zero(self, "timeout_s")
        if not _is_usable(self.template):
            raise ConfigurationError(
                f"registry URL {self.url!r}: write http(s)://host[:port]/path/{{service}}"
            )
        if self.revalidate_every < 0:
            raise ConfigurationError(
                f"revalidate_every is {self.revalidate_every!r}; it must be 0 or more"
            )
        StatusWords(self.status_words)  # Raises if a meaning is no status.
        unknown = [name for name in _paths(self.mapping) if name not in FIELDS]
        if unknown:
            raise ConfigurationError(
                f"mapping: unknown field {unknown[0]!r}; known are {', '.join(FIELDS)}"
            )

    @classmethod
    def from_url(cls, url: str) -> HttpSettings:
        """Read an endpoint's URL; the options stand after `#`, which is never sent.

        They are `items`, `services_url`, `token`, `timeout`, `status_words` and the fields of an
        instance, each with its dotted path.

        Raises:
            ConfigurationError: an option is unknown or wrong.
        """
        endpoint, _, fragment = url.partition("#")
        known = ("items", "services_url", "status_words", "token", "timeout", *FIELDS)
        options = read_options(url, fragment, known=known)
        values = {name: texts[0] for name, texts in options.items()}
        return cls(
            template=endpoint,
            mapping={name: values[name] for name in FIELDS if name in values} or None,
            status_words=_read_words(url, values.get("status_words", "")),
            items=values.get("items", ""),
            services_url=values.get("services_url"),
            token=values.get("token"),
            timeout_s=duration_s(url, options, "timeout", 10.0),
        )


def from_url(url: str) -> ComposedRegistry:
    """Make the registry that the URL describes.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    return make(HttpSettings.from_url(url))


def make(settings: HttpSettings) -> ComposedRegistry:
    """Make the registry; it is polled."""
    reader = HttpReader(settings)
    bare = urlsplit(settings.template).path in _BARE_PATHS
    return ComposedRegistry(settings, _BareReader(settings, reader) if bare else reader)


class HttpReader:
    """Asks an HTTP endpoint for the list of a service; an entry is "host:port" or a table.

    Args:
        settings: see `HttpSettings`.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        bearer = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
        self._asker = Asker(
            settings.url,
            headers={"Accept": "application/json", **(settings.headers or {}), **bearer},
            auth=settings.auth,
            verify=settings.context(),
            max_bytes=settings.max_bytes,
            transport=settings.transport,
        )
        self._words = StatusWords(settings.status_words)
        self._seen: LRUCache[str, _Seen] = LRUCache(_MAX_SERVICES_REMEMBERED)
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the list of the service, or whether it has changed.

        Raises:
            RegistryRequestError: among others for 404: an unknown service is not an empty one.
            RegistryError: see `trimtab.registries.protocol`.
        """
        seen = self._seen.get(service)
        conditions = (
            seen.conditions if seen and seen.polls < self._settings.revalidate_every else {}
        )
        url = self._settings.template.replace("{service}", quote(service, safe=""))
        answer = await self._asker.ask(
            "GET", url, timeout_s=self._settings.timeout_s, headers=conditions
        )
        if answer.status == httpx.codes.NOT_MODIFIED and seen and conditions:
            self._seen[service] = _Seen(seen.listing, seen.conditions, seen.polls + 1)
            return seen.listing
        place = f"{self._settings.url}: {service!r}"
        if answer.status != httpx.codes.OK:
            raise refusal(place, answer)
        listing = self._listing(place, service, answer)
        self._seen[service] = _Seen(listing, _conditions(answer))
        self._complaints.about(service, listing.skipped)
        return listing

    async def services(self) -> list[str]:
        """Name the services, if there is an endpoint for them.

        Raises:
            RegistryRequestError: no `services_url` was given.
        """
        if self._settings.services_url is None:
            raise RegistryRequestError(
                f"{self._settings.url}: give services_url= to say where all services are listed"
            )
        place = shown(self._settings.services_url)
        answer = await self._asker.ask(
            "GET", self._settings.services_url, timeout_s=self._settings.timeout_s
        )
        if answer.status != httpx.codes.OK:
            raise refusal(place, answer)
        return sorted(parse_json(place, answer.body, list[str] | dict[str, Any]))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._asker.aclose()

    def _listing(self, place: str, service: str, answer: Answer) -> Listing:
        data = parse_any(place, answer.body)
        if callable(self._settings.mapping):
            entries = _called(self._settings.mapping, data, place)
        else:
            entries = _at(data, self._settings.items.replace("{service}", service))
        if not isinstance(entries, list):
            where = (
                f"at {self._settings.items!r}" if self._settings.items else "as the whole answer"
            )
            found = "nothing" if entries is _MISSING else type(entries).__name__
            raise RegistryAnswerError(
                f"{place}: {found} {where}; a list of instances must be there "
                "(items= says where it is)"
            )
        instances, skipped = gather(entries, self._read, place=place)
        skipped += self._words.unknown(place)
        # Not the ETag: it is equal for two changes within one second on many servers.
        version = hashlib.blake2b(answer.body, digest_size=8).hexdigest()
        return Listing(instances=instances, version=version, skipped=skipped)

    def _read(self, entry: object) -> Instance:
        if isinstance(entry, dict):
            entry = self._mapped(entry)
        return read_entry(entry, words=self._words)

    def _mapped(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return the fields by their paths, and the others by their usual names."""
        fields, paths = usual_fields(entry), _paths(self._settings.mapping)
        if priority_of(fields.get("priority")) is None:
            # Other servers use this name with another meaning.
            fields.pop("priority", None)
        if "host" in paths or "address" in paths:
            fields = {name: each for name, each in fields.items() if name not in _WHERE}
        found = {name: _at(entry, path) for name, path in paths.items()}
        fields.update((name, value) for name, value in found.items() if value is not _MISSING)
        return fields


class _BareReader:
    """Reads an endpoint without a path, and says in each error what a Consul's URL looks like."""

    def __init__(self, settings: HttpSettings, reader: HttpReader) -> None:
        self._settings, self._reader = settings, reader
        self.aclose = reader.aclose

    async def fetch(self, service: str) -> Listing:
        """See `HttpReader`."""
        try:
            return await self._reader.fetch(service)
        except (RegistryAnswerError, RegistryDeniedError, RegistryRequestError) as error:
            raise self._explained(error) from error

    async def services(self) -> list[str]:
        """See `HttpReader`."""
        try:
            return await self._reader.services()
        except (RegistryAnswerError, RegistryDeniedError, RegistryRequestError) as error:
            raise self._explained(error) from error

    def _explained(self, error: RegistryError) -> RegistryError:
        parts = urlsplit(self._settings.template)
        scheme = "consul+https" if parts.scheme == "https" else "consul"
        port = "" if parts.port else ":8501" if scheme == "consul+https" else ":8500"
        url = shown(f"{scheme}://{parts.netloc}{port}")
        return type(error)(f"{error}; for a Consul or an embedded registry write {url}")


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _read_words(url: str, text: str) -> dict[str, str]:
    """Read `fine:passing,ailing:critical`.

    Raises:
        ConfigurationError: a word has no meaning.
    """
    pairs = [pair.rpartition(":") for pair in text.split(",") if pair]
    if not all(word and meaning for word, _, meaning in pairs):
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write status_words=fine:passing,ailing:critical"
        )
    return {word.strip(): meaning.strip() for word, _, meaning in pairs}


def _paths(mapping: object) -> dict[str, str]:
    """Return the dotted paths per field; none where a callable reads the answer."""
    return {} if mapping is None or callable(mapping) else dict(mapping)  # type: ignore[call-overload]


def _conditions(answer: Answer) -> dict[str, str]:
    """Return the validators back as they came: a weak ETag of a compressing server too."""
    pairs = (("etag", "If-None-Match"), ("last-modified", "If-Modified-Since"))
    return {ask: answer.headers[name] for name, ask in pairs if name in answer.headers}


def _called(mapping: Callable[[Any], Iterable[Any]], data: Any, place: str) -> list[Any]:
    try:
        return list(mapping(data))
    except Exception as error:
        raise RegistryAnswerError(
            f"{place}: the mapping failed on this answer: {type(error).__name__}: {error}"
        ) from error


def _at(value: Any, path: str) -> Any:
    """Follow a dotted path through tables and lists; `_MISSING` where it leads nowhere."""
    for step in path.split(".") if path else ():
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _MISSING
    return value
