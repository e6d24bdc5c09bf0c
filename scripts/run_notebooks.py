"""Run the notebooks from start to end and keep what comes out.

`python scripts/run_notebooks.py [NOTEBOOK ...]`, all of them by default. Nothing of the machine
is kept with them: no times, no versions.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

_FOLDER = Path(__file__).parents[1] / "notebooks"


def main(paths: list[str]) -> None:
    """Run the notebooks of these paths."""
    for path in [Path(one) for one in paths] or sorted(_FOLDER.glob("*.ipynb")):
        print(path.name, flush=True)
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(
                notebook,
                timeout=300,
                kernel_name="python3",
                record_timing=False,
                resources={"metadata": {"path": folder}},
            ).execute()
        notebook.metadata["language_info"] = {"name": "python"}
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
