"""Every notebook reads a stream whose domains are of three data sets of different layouts."""

from pathlib import Path

import pytest

from cldf_core.workflow.notebooks import NEEDS
from cldf_core.workflow.parameters import NOTEBOOKS
from samples import call, copy_project, three_collections

STREAM, UNSEEN = "[first, 'pooled:sd', 'hub:app']", "[last]"


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> tuple[Path, list[str]]:
    """A project with the data sets, and what a call of `cldf run` needs to take its stream from them."""
    root, folder = copy_project(tmp_path_factory.mktemp("root")), tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLDF_ROOT", str(root))
        data = three_collections(folder)
    values = [f"data={data}", f"stream={STREAM}", f"unseen={UNSEEN}", "size=32"]
    return root, [word for value in values for word in ("-p", value)]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_takes_domains_of_several_data_sets(name, words):
    root, values = words
    for needed in (*NEEDS.get(name, ()), name):
        done = call(root, "run", needed, "--profile", "smoke", *values)
        assert done.returncode == 0, done.stderr[-3000:]
