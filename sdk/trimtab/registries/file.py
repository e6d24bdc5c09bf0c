"""`file:///etc/app/services.json`: a table of services in JSON, TOML or YAML, watched.

Each service names a list of instances, written as "host:port" or as a table::

    {"orders": ["10.0.0.7:8080", {"host": "10.0.0.8", "port": 8080, "weight": 2, "zone": "a"}]}

A service that is not in the file is an error and not an empty list: a typing mistake must not
look like a service whose instances have all gone. Write the file whole and rename it over the
old one; a half-written file is refused, and the last good list stays in use.
"""

from __future__ import annotations

import json
import tomllib
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from trimtab.errors import (
    ConfigurationError,
    RegistryAnswerError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries.asking import LONGEST_NUMBER, whole_number
from trimtab.registries.entries import (
    Complaints,
    StatusWords,
    check_case,
    gather,
    read_entry,
)
from trimtab.registries.protocol import ComposedRegistry, Listing
from trimtab.registries.urls import Settings, digest, flag, read_options

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable

    from trimtab.instance import Instance

__all__ = ["FileReader", "FileSettings", "FileWatch", "from_url", "make"]

_MAX_BYTES = 16 * 2**20
# How often the file is checked although no event has come: network file systems send none, and a
# change between the first reading and the start of the watch would be missed.
_LOOK_AGAIN_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings(Settings):
    """Which file is read.

    Attributes:
        path: absolute; ends in .json, .toml, .yaml or .yml.
        poll: whether the file is only read when asked for, and not watched.
    """

    path: Path
    poll: bool = False

    @classmethod
    def of(cls, path: str | os.PathLike[str], *, poll: bool = False) -> FileSettings:
        """Make the settings for a path, which may be relative."""
        absolute = Path(path).absolute()
        return cls(url=absolute.as_uri(), path=absolute, poll=poll)

    @classmethod
    def from_url(cls, url: str) -> FileSettings:
        """Read `file:///path/services.json[?poll]`; polled also where `watchfiles` is missing.

        Raises:
            ConfigurationError: the URL names no absolute path, or another host.
        """
        parts = urlsplit(url)
        if parts.netloc not in {"", "localhost"} or parts.path in {"", "/"}:
            raise ConfigurationError(
                f"registry URL {url!r}: write an absolute path, like file:///etc/app/services.json"
            )
        options = read_options(url, parts.query, known=("poll",))
        poll = flag(url, options, "poll") or find_spec("watchfiles") is None
        return cls.of(unquote(parts.path), poll=poll)


def from_url(url: str) -> ComposedRegistry:
    """Make the registry that the URL describes.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    return make(FileSettings.from_url(url))


def make(settings: FileSettings) -> ComposedRegistry:
    """Make the registry.

    Raises:
        ConfigurationError: the file's ending is unknown, or an extra is missing.
    """
    reader = FileReader(settings)
    watch = None if settings.poll else FileWatch(settings, reader)
    return ComposedRegistry(settings, reader, watch=watch)


class FileReader:
    """Reads a table of services from a file.

    Reading is synchronous: the file is small and local.

    Args:
        settings: see `FileSettings`.

    Raises:
        ConfigurationError: the file's ending is unknown, or YAML needs the extra `file`.
    """

    def __init__(self, settings: FileSettings) -> None:
        self._path = settings.path
        self._parse = _parser(self._path)
        self._complaints, self._words = Complaints(), StatusWords()

    async def fetch(self, service: str) -> Listing:
        """Read the file and give the list of the service.

        Raises:
            RegistryUnavailableError: the file is not there, or may not be read.
            RegistryAnswerError: it is torn, too large or no table of lists.
            RegistryRequestError: it does not name the service.
        """
        return self._listing(service, self._table())

    async def services(self) -> list[str]:
        """Name the services in the file."""
        return sorted(self._table())

    async def aclose(self) -> None:
        """Do nothing: nothing stays open."""

    def _listing(self, service: str, table: dict[str, Any]) -> Listing:
        check_case(str(self._path), service, table)
        if service not in table:
            named = ", ".join(sorted(table)) or "no service at all"
            raise RegistryRequestError(f"{self._path}: no service {service!r}; it names: {named}")
        entries = table[service]
        if not isinstance(entries, list):
            raise RegistryAnswerError(
                f"{self._path}: {service!r} is {type(entries).__name__}; "
                "it must be a list of instances"
            )
        place = f"{self._path}: {service!r}"
        instances, skipped = gather(entries, self._read, place=place)
        skipped += self._words.unknown(place)
        self._complaints.about(service, skipped)
        return Listing(instances=instances, version=digest(entries), skipped=skipped)

    def _read(self, entry: object) -> Instance:
        return read_entry(entry, words=self._words)

    def _table(self) -> dict[str, Any]:
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise RegistryUnavailableError(f"{self._path}: {error.strerror}") from error
        if len(data) > _MAX_BYTES:
            raise RegistryAnswerError(f"{self._path}: larger than {_MAX_BYTES} bytes")
        try:
            # Editors and PowerShell write a byte order mark.
            table = self._parse(data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise RegistryAnswerError(
                f"{self._path}: {error}; write the file whole and rename it into place"
            ) from error
        if not isinstance(table, dict) or not all(isinstance(name, str) for name in table):
            raise RegistryAnswerError(
                f"{self._path}: must be a table from the names of services to lists of instances"
            )
        return table


class FileWatch:
    """Reads the file again whenever it changes.

    The directory is watched, not the file: publishers rename a new file over the old one.

    Args:
        settings: see `FileSettings`.
        reader: reads the file.

    Raises:
        ConfigurationError: `watchfiles` (the extra `file`) is not installed.
    """

    def __init__(self, settings: FileSettings, reader: FileReader) -> None:
        self._path, self._reader = settings.path, reader
        if find_spec("watchfiles") is None:
            raise ConfigurationError(
                f"{settings.url}: watching needs watchfiles: pip install 'trimtab[file]', "
                "or use poll"
            )

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list now, after each change of the file, and about once a second."""
        from watchfiles import awatch  # noqa: PLC0415 - an extra, wanted only here

        seen, listing = self._mark(), await self._reader.fetch(service)
        yield listing
        looks = awatch(
            self._path.parent,
            watch_filter=None,
            recursive=False,
            yield_on_timeout=True,
            rust_timeout=_LOOK_AGAIN_MS,
        )
        async with aclosing(looks):
            async for changes in looks:
                mark = self._mark()
                if mark != seen or any(Path(path) == self._path for _, path in changes):
                    seen, listing = mark, await self._reader.fetch(service)
                yield listing

    def _mark(self) -> tuple[int, int, int]:
        """Return values that change with the file, also through symbolic links."""
        try:
            stat = self._path.stat()
        except OSError as error:
            raise RegistryUnavailableError(f"{self._path}: {error.strerror}") from error
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _parser(path: Path) -> Callable[[str], Any]:
    match path.suffix.lower():
        case ".json":
            return lambda text: json.loads(text, parse_int=whole_number)
        case ".toml":
            return tomllib.loads
        case ".yaml" | ".yml":
            return _yaml_parser(path)
    raise ConfigurationError(
        f"registry file {str(path)!r}: its name must end in .json, .toml, .yaml or .yml"
    )


def _yaml_parser(path: Path) -> Callable[[str], Any]:
    try:
        import yaml  # noqa: PLC0415 - an extra, wanted only here
    except ImportError as error:
        raise ConfigurationError(
            f"registry file {str(path)!r}: YAML needs PyYAML: pip install 'trimtab[file]'"
        ) from error

    class Loader(yaml.SafeLoader):
        """Keeps as text a number that is too large to be one: it is one field's matter."""

        def construct_number(self, node: Any) -> int | str:
            text = self.construct_scalar(node)
            return self.construct_yaml_int(node) if len(text) <= LONGEST_NUMBER else text

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_number)

    def parse(text: str) -> Any:
        try:
            return yaml.load(text, Loader)  # noqa: S506 - a safe loader
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from error

    return parse
