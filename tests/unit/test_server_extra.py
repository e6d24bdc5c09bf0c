"""`import trimtab.server` without the extra that it needs."""

import subprocess
import sys

import pytest

_IMPORT = """
import sys
sys.modules[{missing!r}] = None
try:
    import trimtab.server
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_the_missing_extra_is_named(missing):
    code = _IMPORT.format(missing=missing)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert missing in done.stdout
    assert "pip install 'trimtab[server]'" in done.stdout
