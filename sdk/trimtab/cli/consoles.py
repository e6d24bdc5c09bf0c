"""Consoles (standard output, help, errors), and instances as tables and as JSON.

A console has colours and a width on a terminal, and whole plain lines elsewhere. `Fitted` shows a
table in any width without breaking what stands in a cell.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from trimtab.instance import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rich.console import ConsoleOptions, RenderResult

    from trimtab.instance import Instance

__all__ = [
    "Fitted",
    "as_json",
    "counted",
    "for_errors",
    "for_help",
    "for_output",
    "instance_table",
    "is_live",
    "plain_table",
    "status_text",
    "visible",
]

_UNBOUNDED = 4000
_READABLE = 100
_INDENT = "  "
_MARKS = {
    Status.PASSING: ("●", "green"),
    Status.WARNING: ("▲", "yellow"),
    Status.CRITICAL: ("✖", "red"),
    Status.DRAINING: ("○", "cyan"),
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise, so that `ending` handles every broken pipe in the same way."""
        raise BrokenPipeError


def for_output() -> Console:
    """Make a console for standard output; in files and pipes no line is cut off."""
    return _console(stderr=False, is_terminal=sys.stdout.isatty())


def for_help() -> Console:
    """Make a console for help pages; they are prose, so their width is limited."""
    console = for_output()
    console.width = min(console.width, _READABLE)
    return console


def for_errors() -> Console:
    """Make a console for standard error."""
    return _console(stderr=True, is_terminal=sys.stderr.isatty())


def is_live(console: Console) -> bool:
    """Return whether a picture can be redrawn in place."""
    return console.is_terminal and not console.is_dumb_terminal


def _console(*, stderr: bool, is_terminal: bool) -> Console:
    width = None if is_terminal else _UNBOUNDED
    return _Console(stderr=stderr, width=width, highlight=False, emoji=False, markup=True)


def as_json(instance: Instance) -> dict[str, Any]:
    """Return an instance as plain data."""
    return {
        "id": instance.id,
        "address": instance.address,
        "host": instance.host,
        "port": instance.port,
        "scheme": instance.scheme,
        "status": instance.status.value,
        "weight": instance.weight,
        "zone": instance.zone,
        "priority": instance.priority,
        "metadata": dict(instance.metadata),
    }


def visible(text: str) -> str:
    r"""Return a registry's text with its control characters written out, `\x1b` for an escape.

    A terminal would obey them: they can move the cursor, change the title and hide lines. So can
    the characters that turn the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def _sorted(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(metadata.items(), key=lambda pair: str(pair[0]))


def status_text(status: Status) -> Text:
    """Return a status with its mark and colour."""
    mark, style = _MARKS[status]
    return Text(f"{mark} {status.value}", style)


def counted(number: int, what: str) -> str:
    """Return a number of things: `1 instance`, `2 instances`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def plain_table(*columns: str) -> Table:
    """Make a table without a frame, for people and for awk."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


class Fitted:
    """A table that shows all its cells whole, however narrow the console is.

    If it is too wide, its headings get several lines, then the gaps between its columns become
    smaller, and at last each row becomes a block: the first cell, and below it the others with
    their headings.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table
        if _width(table, console) > options.max_width:
            for column in table.columns:
                column.header = Text("\n".join(str(column.header).split()))
        if _width(table, console) > options.max_width:
            table.padding = (0, 1, 0, 0)
        if _width(table, console) <= options.max_width:
            yield table
            return
        if table.title:
            yield Text(str(table.title), "italic")
        for row in zip(*(column.cells for column in table.columns), strict=True):
            yield from self._block(row, options.max_width)

    def _block(self, row: tuple[Any, ...], width: int) -> Iterator[Text]:
        cells = [cell if isinstance(cell, Text) else Text(str(cell)) for cell in row]
        yield Text.assemble(cells[0], overflow="fold")
        line = Text(_INDENT, overflow="fold")
        for column, cell in zip(self._table.columns[1:], cells[1:], strict=True):
            if not cell.plain:
                continue
            heading = " ".join(str(column.header).split())
            item = Text.assemble((f"{heading} ", "dim"), cell)
            if len(line) > len(_INDENT) and line.cell_len + 2 + item.cell_len > width:
                yield line
                line = Text(_INDENT, overflow="fold")
            line.append("  " if len(line) > len(_INDENT) else "").append_text(item)
        yield line


def _width(table: Table, console: Console) -> int:
    wide = console.options.update(max_width=_UNBOUNDED)
    return Measurement.get(console, wide, table).maximum


def instance_table(instances: Iterable[Instance]) -> Fitted:
    """Make a table of instances, in the registry's order."""
    table = plain_table("INSTANCE", "ADDRESS", "STATUS", "WEIGHT", "ZONE", "PRIORITY", "METADATA")
    table.columns[3].justify = table.columns[5].justify = "right"
    for each in instances:
        table.add_row(
            Text(visible(each.id)),
            Text(visible(each.address)),
            status_text(each.status),
            f"{each.weight:g}",
            Text(visible(each.zone) or "-"),
            str(each.priority),
            Text(visible(" ".join(f"{key}={value}" for key, value in _sorted(each.metadata)))),
        )
    return Fitted(table)
