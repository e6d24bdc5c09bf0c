"""A scenario as a whole: read, checked, hashed, varied, written."""

from __future__ import annotations

import hashlib
import operator
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import tomli_w

from trimtab.discovery.settings import DiscoverySettings
from trimtab_sim.durations import decode, encode, schema_of
from trimtab_sim.errors import ScenarioError
from trimtab_sim.laws import read_durations
from trimtab_sim.scenario.actions import Action, Churn  # noqa: TC001 - msgspec reads them
from trimtab_sim.scenario.checks import check
from trimtab_sim.scenario.complaints import (
    Complaint,
    Steps,
    explain,
    line_of,
    parse_path,
    path_of,
)
from trimtab_sim.scenario.content import (
    About,
    Clients,
    Expect,
    Network,
    Registry,
    Service,
    Table,
)
from trimtab_sim.scenario.sdk import balancer_arguments, schemas

__all__ = ["Scenario"]

# Tables whose figures may come from a file: the key and value that mark one, and the key filled.
_FILES = {("law", "empirical"): "values", ("kind", "trace"): "times"}


class Scenario(Table, frozen=True, kw_only=True, rename={"about": "scenario"}):
    """A whole scenario file. Make one with `load` or `from_toml`, which check it.

    Attributes:
        about: the table `[scenario]`.
        service: the servers.
        registry: how clients learn of them.
        discovery: fields of the SDK's DiscoverySettings, verbatim.
        balancer: arguments of the SDK's transport, verbatim: `strategy`, `[balancer.retry]` and
            the other tables that `trimtab_sim.scenario.sdk` lists.
        network: latency and loss.
        clients: groups of clients, at least one.
        timeline: actions at given moments.
        churn: actions repeated at random moments.
        expect: the expectations.
    """

    about: About
    service: Service
    clients: Annotated[tuple[Clients, ...], msgspec.Meta(min_length=1)]
    registry: Registry = Registry()
    discovery: dict[str, Any] = msgspec.field(default_factory=dict)
    balancer: dict[str, Any] = msgspec.field(default_factory=dict)
    network: Network = Network()
    timeline: tuple[Action, ...] = ()
    churn: tuple[Churn, ...] = ()
    expect: Expect = Expect()

    @classmethod
    def load(cls, path: str | Path) -> Scenario:
        """Read a scenario file (TOML, UTF-8).

        Raises:
            ScenarioError: it cannot be read, or has a mistake; the message names the
                file, the line, the key and the remedy.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ScenarioError(f"{path}: is not UTF-8 at byte {error.start}; save it so") from None
        return cls.from_toml(text, source=str(path), folder=path.parent)

    @classmethod
    def from_toml(
        cls, text: str, *, source: str = "scenario", folder: str | Path = "."
    ) -> Scenario:
        """Read a scenario from text.

        Args:
            text: TOML.
            source: its name in messages.
            folder: the folder of the files that it names.

        Raises:
            ScenarioError: as for `load`.
        """
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ScenarioError(_toml_message(text, source, str(error))) from None
        found, complaints = _read(tree, Path(folder))
        if found is None or complaints:
            raise ScenarioError(
                "\n".join(
                    f"{source}:{line}: {path_of(steps) or 'file'}: {message}"
                    for line, steps, message in sorted(
                        ((line_of(text, one.steps), *one) for one in complaints),
                        key=operator.itemgetter(0),
                    )
                )
            )
        return found

    def replace(self, path: str, value: Any) -> Scenario:
        """Return a copy with one other value: one point of a sweep.

        Args:
            path: its place in the file: `service.servers`, `clients[0].arrivals.rate`,
                `discovery.poll_interval_s`, `timeline[2].duration`.
            value: the new value, written as in the file.

        Raises:
            ScenarioError: the path does not exist, or the value is wrong.
        """
        tree, steps = self.tree(), parse_path(path)
        if not _put(tree, steps, value):
            raise ScenarioError(
                f"{path!r} does not exist in this scenario; write it like 'service.servers' or "
                "'clients[0].arrivals.rate'"
            )
        found, complaints = _read(tree, Path())
        if found is None or complaints:
            lines = [f"{path_of(steps)}: {message}" for steps, message in complaints]
            raise ScenarioError("\n".join(lines))
        return found

    def tree(self) -> dict[str, Any]:
        """Return it as plain tables and lists, with defaults, without absent keys."""
        tree: dict[str, Any] = _without_none(msgspec.to_builtins(self, enc_hook=encode))
        return tree

    def to_toml(self) -> str:
        """Return it as TOML that `load` reads back to an equal scenario, without defaults."""
        return tomli_w.dumps(_without_defaults(self))

    @property
    def digest(self) -> str:
        """A hash of everything but the title and the description.

        It does not depend on the order of keys, on whether a default was written out, on the
        notation of durations, or on the folder of a data file. The result of a run is a function
        of this and the replication.
        """
        tree = self.tree()
        for name in ("name", "description"):
            del tree["scenario"][name]
        return hashlib.sha256(msgspec.json.encode(tree, order="sorted")).hexdigest()

    @property
    def discovery_settings(self) -> DiscoverySettings:
        """The SDK's own settings of discovery."""
        return DiscoverySettings(**self.discovery)

    @property
    def balancer_arguments(self) -> dict[str, Any]:
        """The arguments for the SDK's transport: `strategy`, `retry` and the others."""
        return balancer_arguments(self.balancer)

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies to compare: those listed, or else the balancer's one."""
        return self.about.strategies or (self.balancer.get("strategy", "least_latency"),)

    @property
    def offered_load(self) -> float | None:
        """The share of the servers' capacity that open loops ask for; None with a closed loop."""
        rates = [(group.count, group.mean_work_per_s) for group in self.clients]
        if any(rate is None for _, rate in rates):
            return None
        return sum(count * (rate or 0) for count, rate in rates) / self.service.capacity_per_s()

    @staticmethod
    def schema() -> dict[str, Any]:
        """Return the JSON schema of scenario files, for editors."""
        schema = msgspec.json.schema(Scenario, schema_hook=schema_of)
        schema["$defs"]["Scenario"]["properties"] |= schemas()
        return schema


def _read(tree: dict[str, Any], folder: Path) -> tuple[Scenario | None, list[Complaint]]:
    complaints = list(_insert_files(tree, folder, ()))
    if complaints:
        return None, complaints
    try:
        found = msgspec.convert(tree, Scenario, dec_hook=decode)
    except msgspec.ValidationError as error:
        return None, [explain(error, tree, Scenario)]
    return found, check(found)


def _insert_files(tree: Any, folder: Path, steps: Steps) -> list[Complaint]:
    """Put the figures of data files into the tree; return complaints about unreadable files."""
    if isinstance(tree, list):
        parts = list(enumerate(tree))
    elif isinstance(tree, dict):
        parts = list(tree.items())
    else:
        return []
    complaints = [one for key, part in parts for one in _insert_files(part, folder, (*steps, key))]
    if isinstance(tree, dict) and isinstance(tree.get("file"), str):
        for (mark, value), key in _FILES.items():
            if tree.get(mark) == value and key not in tree:
                try:
                    tree[key] = list(read_durations(folder / tree["file"]))
                    del tree["file"]
                except ScenarioError as error:
                    complaints.append(Complaint((*steps, "file"), str(error)))
    return complaints


def _toml_message(text: str, source: str, error: str) -> str:
    what, _, place = error.partition(" (at ")
    line = "".join(c for c in place.split(",")[0] if c.isdigit()) or str(text.count("\n") + 1)
    return f"{source}:{line}: not TOML: {what}"


def _put(tree: Any, steps: Steps, value: Any) -> bool:
    """Put a value into a tree, and make missing tables; return False where that is impossible."""
    for count, step in enumerate(steps, 1):
        last = count == len(steps)
        if isinstance(tree, dict) and isinstance(step, str):
            tree[step] = value if last else tree.get(step, {})
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree[step] = value if last else tree[step]
        else:
            return False
        tree = tree[step]
    return bool(steps)


def _without_defaults(value: Any) -> Any:
    """Return a value as plain tables, without the keys that equal their default."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        tag = {config.tag_field: config.tag} if config.tag_field else {}
        fields = [(one, getattr(value, one.name)) for one in msgspec.structs.fields(value)]
        return tag | {
            one.encode_name: _without_defaults(inner)
            for one, inner in fields
            if inner is not None and inner not in (one.default, {})
        }
    if isinstance(value, (list, tuple)):
        return [_without_defaults(inner) for inner in value]
    return float(value) if isinstance(value, float) else value


def _without_none(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_none(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, (list, tuple)):
        return [_without_none(value) for value in tree]
    return tree
