"""The report: one HTML file with everything in it, to read on screen and on paper.

`write(result, "report")` puts `index.html` into a folder; `render(result)` returns the text. `page`
makes it, from the tables of `cells` and the pictures of `outcomes`, `shares` and `times`, which
draw with `drawing`. `committed` and `prose` make the report that is kept beside the code.
"""

from __future__ import annotations

from trimtab_sim.report.page import render, write

__all__ = ["render", "write"]
