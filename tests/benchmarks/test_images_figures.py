"""The figures that are committed, beside the cells that are."""

import pytest

from benchmarks import publish
from benchmarks.images_figures import drawn_from, planned


@pytest.mark.parametrize("folder", publish.DRAWN)
def test_committed_figures_are_drawn_from_the_committed_cells(folder):
    """They are drawn anew by `python benchmarks/publish.py`; one that nothing draws any more is to be removed."""
    plans = planned(publish.cells_of(folder))
    drawn = {path.name: drawn_from(path) for path in (publish.RESULTS / folder / "figures").glob("*.png")}
    assert drawn == {name: plan.digest for name, plan in plans.items()}
