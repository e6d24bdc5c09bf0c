"""A table for terminals, notebooks and files."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Table"]


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """Rows of texts under headings; the first column is aligned left, the others right.

    Attributes:
        notes: lines below the table.
    """

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        rule = tuple("-" * width for width in widths)
        lines = [_line(row, widths) for row in (self.headings, rule, *self.rows)]
        return "\n".join([self.title, "", *lines, *(["", *self.notes] if self.notes else [])])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(text)}</th>" for text in self.headings)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>"
            for row in self.rows
        )
        notes = "".join(f"<div><small>{escape(note)}</small></div>" for note in self.notes)
        return (
            f"<table><caption>{escape(self.title)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{notes}"
        )

    @property
    def width(self) -> int:
        """The width in characters."""
        return max(map(len, str(self).splitlines()[2:4]))

    def turned(self) -> Table:
        """Return the table with rows and columns exchanged: narrower when there are few rows."""
        first, *others = zip(self.headings, *self.rows, strict=True)
        return Table(self.title, first, others, self.notes)

    def fitted(self, width: int) -> Table:
        """Return the table unchanged, or turned if only that fits the width."""
        if self.width <= width:
            return self
        turned = self.turned()
        return turned if turned.width <= width else self

    def rich(self) -> RichTable:
        """Return the table for a rich console."""
        table = RichTable(title=Text(self.title), title_justify="left", box=None, pad_edge=False)
        for place, heading in enumerate(self.headings):
            table.add_column(
                Text(heading), justify="right" if place else "left", no_wrap=True, overflow="fold"
            )
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        text.rjust(width) if place else text.ljust(width)
        for place, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
