"""The notebook: it runs from top to bottom, and what is stored in it is what it shows."""

import shutil
from itertools import groupby
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"


def shown(notebook):
    """Return the kinds of the outputs of each cell of code; a stream may come in several pieces."""
    kinds = [
        [sorted(output.get("data", [output.get("name")])) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    return [[each for each, _ in groupby(of_cell)] for of_cell in kinds]


# The kernel's own packages warn of what they will change.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_the_notebook_runs_and_shows_what_is_stored_in_it(tmp_path):
    folder = shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("logs", "*.png"))
    stored = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    fresh = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)

    NotebookClient(fresh, timeout=300, resources={"metadata": {"path": folder}}).execute()

    assert shown(fresh) == shown(stored)
    data = [output.get("data", {}) for cell in stored.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in each or "data:image/png" in each.get("text/html", "") for each in data) == 5
    assert ["stderr"] not in [kinds for outputs in shown(stored) for kinds in outputs]
