"""The pictures of docs/strategies.md are those that the present code draws."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "shares.py"))

pytestmark = pytest.mark.untraced


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' log() may end in another bit")
@pytest.mark.parametrize("name", SCRIPT["WORLDS"])
def test_they_are_drawn_by_the_present_code(name):
    committed = SCRIPT["path"](name).read_text(encoding="utf-8")
    assert committed == SCRIPT["draw"](name), "run: python scripts/shares.py"
    assert f"](shares_{name}.svg)" in (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
