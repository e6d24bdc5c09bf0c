"""The notebooks: each runs from start to end, and is kept with its output."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from trimtab_sim import Scenario, run

_FOLDER = Path(__file__).parents[2] / "notebooks"
_NOTEBOOKS = sorted(_FOLDER.glob("[0-9][0-9]_*.ipynb"))
_MACHINE = re.compile(r"/(?:work|root|home|tmp|usr)/|20[2-9]\d-\d\d-\d\d|127\.0\.0\.1:\d")


def _read(path):
    return nbformat.read(path, as_version=4)


def test_there_are_seven():
    assert [path.name[:2] for path in _NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_with_its_output(path):
    notebook = _read(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures, "a notebook shows"
    for output in outputs:
        texts = [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
        assert not _MACHINE.search("".join(texts)), "no place, no date, no port"
    assert path.stat().st_size < 400_000


@pytest.mark.untraced
@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_start_to_end(path, tmp_path):
    notebook = _read(path)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=100, kernel_name="python3", resources=resources).execute()
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_a_simulation_runs_where_a_loop_runs_already():
    scenario = Scenario.from_toml(
        "[scenario]\nduration = 1\n[service]\nservers = 1\n[[clients]]\n", source="inside"
    )

    async def cell():
        before = asyncio.get_running_loop()
        result = run(scenario, reps=1)
        assert asyncio.get_running_loop() is before
        await asyncio.sleep(0)
        return result

    assert asyncio.run(cell()).digest == run(scenario, reps=1).digest
