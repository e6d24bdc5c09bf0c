"""Draw the rooms of the SDK and their imports, from the code, into docs/architecture.svg.

Run it after a change of the rooms: `python scripts/architecture.py`; a test holds the picture to
the code. Rows are the layers that import-linter holds (pyproject.toml). An arrow goes from a room
to one that it imports at run time. An import that already follows from other arrows is left out,
and so are those of plain values, which every room may use.
"""

from __future__ import annotations

import sys
import tomllib
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGE = "trimtab"
PURE = "Decisions are apart from I/O"

VALUES = "values"
WIDTH, ROW, BOX = 760, 72, 36
INK, PALE, BLUE, LINE = "#1f2933", "#f4f6f8", "#dbeafe", "#8795a1"


def layers() -> list[list[str]]:
    """Return the rooms of the SDK per layer, from the top, as import-linter holds them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    rows = next(each for each in settings["contracts"] if each["type"] == "layers")["layers"]
    rooms = [[room.strip() for room in row.split("|")] for row in rows]
    return [[room for room in row if room.startswith(f"{PACKAGE}.")] for row in rooms]


def is_value(room: str) -> bool:
    """Return whether a room is one module of plain values, below all packages."""
    folder = ROOT / "sdk" / Path(*room.split("."))
    return room in pure() and room != f"{PACKAGE}.member" and not folder.is_dir()


def pure() -> set[str]:
    """Return the rooms that do no I/O and read no clock."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contract = next(each for each in settings["contracts"] if each["name"] == PURE)
    return set(contract["source_modules"])


def imports(rooms: list[str]) -> dict[str, set[str]]:
    """Return the rooms that each room imports at run time."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for room in rooms:
        for module in {room, *graph.find_descendants(room)}:
            for other in graph.find_modules_directly_imported_by(module):
                target = next((r for r in rooms if other == r or other.startswith(f"{r}.")), None)
                if target is not None and target != room:
                    found[room].add(target)
    return found


def reduced(direct: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the imports that do not follow from others."""

    def reach(room: str) -> set[str]:
        seen: set[str] = set()
        rest = [*direct[room]]
        while rest:
            each = rest.pop()
            if each not in seen:
                seen.add(each)
                rest.extend(direct[each])
        return seen

    reached = {room: reach(room) for room in direct}
    return {
        room: {to for to in targets if not any(to in reached[via] for via in targets - {to})}
        for room, targets in direct.items()
    }


def draw() -> str:
    """Return the picture as SVG."""
    values = [room for row in layers() for room in row if is_value(room)]
    rows = [[room for room in row if room not in values] for row in layers()]
    rows = [row for row in rows if row]
    places: dict[str, tuple[float, float, float]] = {}
    for number, row in enumerate(rows):
        width = min(190.0, (WIDTH - 40) / len(row) - 16)
        left = (WIDTH - len(row) * (width + 16) + 16) / 2
        for column, room in enumerate(row):
            places[room] = (left + column * (width + 16), 24 + number * ROW, width)
    bottom = 24 + len(rows) * ROW
    height = bottom + BOX + 24
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="14" role="img" aria-label="Rooms of the SDK">'
        ),
        (
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto">'
            f'<path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker></defs>'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    parts += _arrows(reduced(imports([*places])), places)
    without_io = pure()
    for room, (x, y, width) in places.items():
        fill = BLUE if room in without_io else PALE
        name = escape(room.removeprefix(f"{PACKAGE}."))
        parts.append(
            f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{BOX}" rx="6" fill="{fill}" '
            f'stroke="{INK}"/><text x="{x + width / 2:.0f}" y="{y + 23}" text-anchor="middle" '
            f'fill="{INK}">{name}</text>'
        )
    names = ", ".join(sorted(room.removeprefix(f"{PACKAGE}.") for room in values))
    parts.append(
        f'<rect x="20" y="{bottom}" width="{WIDTH - 40}" height="{BOX}" rx="6" fill="{BLUE}" '
        f'stroke="{INK}"/><text x="{WIDTH / 2:.0f}" y="{bottom + 23}" text-anchor="middle" '
        f'fill="{INK}">{VALUES}: {escape(names)}</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def _arrows(
    arrows: dict[str, set[str]], places: dict[str, tuple[float, float, float]]
) -> list[str]:
    """Draw each arrow from the lower edge of a room to the upper edge of another one."""
    parts = []
    for room, (x, y, width) in places.items():
        targets = sorted(arrows[room], key=lambda to: places[to])
        for number, to in enumerate(targets, 1):
            start = x + width * number / (len(targets) + 1)
            tx, ty, twidth = places[to]
            end = min(max(start, tx + 14), tx + twidth - 14)
            top, bottom = y + BOX, ty
            bend = (bottom - top) / 2
            parts.append(
                f'<path d="M{start:.0f} {top} C{start:.0f} {top + bend:.0f} {end:.0f} '
                f'{bottom - bend:.0f} {end:.0f} {bottom - 1}" fill="none" stroke="{LINE}" '
                'marker-end="url(#tip)"/>'
            )
    return parts


if __name__ == "__main__":
    PICTURE.write_text(draw())
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}\n")
