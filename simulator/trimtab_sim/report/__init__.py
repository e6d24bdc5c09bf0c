"""The report: one HTML file with everything in it, to read on screen and on paper.

`write(result, "report")` puts `index.html` into a folder; `render(result)` gives the text. Same
result, same bytes: no date unless one is given. No scripts, nothing is fetched.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from trimtab_sim.report.page import Page

if TYPE_CHECKING:
    from trimtab_sim.result import Result

__all__ = ["render", "write"]


def write(result: Result, directory: str | Path, *, date: str = "") -> Path:
    """Write the report into a directory, which is made if need be; return the file's path.

    Raises:
        OSError: it cannot be written.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(render(result, date=date), encoding="utf-8")
    return path


def render(result: Result, *, date: str = "") -> str:
    """Give the report as one HTML text.

    Args:
        result: of `run` or `compare`.
        date: written at the end, if given.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_read("report.html.j2"))
    return template.render(
        page=Page(result, date=date),
        charts_css=_read("charts.css"),
        page_css=_read("page.css"),
    )


def _read(name: str) -> str:
    return (files(__name__) / name).read_text(encoding="utf-8")
