"""The page and the picture about the architecture are true."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "architecture.py"))


def test_the_picture_is_drawn_from_the_present_code():
    committed = SCRIPT["PICTURE"].read_text()
    assert committed == SCRIPT["draw"](), "run: python scripts/architecture.py"


def test_the_table_has_every_room_once():
    table = PAGE.partition("| room |")[2].partition("\n\n")[0]
    named = [
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    rooms = [room.partition(".")[2] for row in SCRIPT["layers"]() for room in row]
    assert sorted(named) == sorted(rooms)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.py)`", PAGE))))
def test_the_files_that_it_names_are_there(path):
    folders = (ROOT / "sdk" / "trimtab", ROOT / "simulator", ROOT)
    assert any((folder / path).is_file() for folder in folders)
