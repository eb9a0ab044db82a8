"""Text of notebooks and README: results are said by code, from tables; what has to be said beside a figure is said."""

import ast
import functools
import re

import jupytext
import pytest

from samples import PROJECT
from words import results_in

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.py"))
EXERCISES = sorted((PROJECT / "notebooks" / "exercises").glob("*.py"))
README = (PROJECT / "README.md").read_text(encoding="utf-8")
SHOWING = {"crop", "open_image", "open_crop", "crops_of", "examine"}  # functions that read or draw an image


@functools.cache
def cells_of(path, kind: str = "markdown") -> list[str]:
    return [cell.source for cell in jupytext.read(path).cells if cell.cell_type == kind]


def markdown_of(path) -> str:
    return "\n\n".join(cells_of(path))


@pytest.mark.parametrize("path", [*NOTEBOOKS, *EXERCISES], ids=lambda path: path.stem)
def test_fixed_text_of_a_notebook_holds_no_result(path):
    assert results_in(markdown_of(path)) == []


def test_fixed_text_of_the_readme_holds_no_result():
    fixed = re.sub(r"<!-- written by .*?<!-- end -->", "", README, flags=re.DOTALL)
    assert results_in(fixed) == []


# What once stood in notebooks and README, and went stale or misled.
ONCE = (
    "They end at 0.95 to 0.96, sequential fine-tuning at 0.77. The smallest\n  difference is 0.17 [0.15, 0.20].",
    "MIR takes a third more seconds than ER and is not shown to be better: 0.008 [0.003, 0.012], p = 0.11",
    "**The four cannot be told apart** by their average accuracy (corrected p from 0.11 to 1).",
    "iCaRL\nneeds little: with 50 images it ends at 0.95 [0.95, 0.95], with 1200 at 0.96.",
    "LwF stays at 0.75 to 0.77: no order saves it.",
    "GDumb has the highest mean (0.87), but p = 0.25.",
    "another seed alone changes what sequential fine-tuning forgets by up to\n0.2 (notebook 11).",
    "ER replays fewer images and forgets less than MIR.",
    "sequential 0.77 [0.75, 0.80]; iCaRL 0.96 [0.95, 0.96], GDumb 0.95 [0.94, 0.96]",
    "what the others do is no more than another random seed does",
    "It keeps everything for ever, so it is the upper bound, not a solution.",
    "The bias always leans towards what came last.",
    "what its verdict can not mean",
    "no difference can be shown where the interval does not leave 0 out; elsewhere it leaves 0 out.",
    "15 % of the fakes are contradicted",
    "the smallest $p = 0.08$",
    "of 32 differences, 15 of them in this code only, two matter",
    "a detector that is 1.75 times slower",
    "An update takes 2.3 s, on some machine. <!-- measured -->",
)
STANDS = (
    "Notebooks 03 to 07 show it (Chaudhry et al., ECCV 2018, equation 6), with 95 % intervals of 1000 resamples.",
    "The dotted line is guessing, 0.5; label 0 is real, 1 fake. Does ER forget less than sequential fine-tuning?",
    "JPEG of quality 95, and a blur of 0.75. <!-- setting -->",
    "MIR replays those whose loss rises most. <!-- by definition -->",
    "`replay=32` and $1/(T-1)$ and images of 128 × 128 pixels",
    "* Of ten images with P(fake) = 0.8, eight are fakes. <!-- example -->",
    "An update takes 2.3 to 3.1 s (`make bench`, two machines). <!-- measured -->",
)


@pytest.mark.parametrize("text", ONCE)
def test_what_once_misled_is_found(text):
    assert results_in(text)


@pytest.mark.parametrize("text", STANDS)
def test_references_settings_and_questions_may_stand(text):
    assert results_in(text) == []


def chooses_test_images(cell: str) -> bool:
    """Whether a cell looks at single images and names, outside of functions, the split or the tables of the test."""
    tree = ast.parse(cell)
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return bool(names & SHOWING) and bool(names & {"split", "tables", "tests"} or "test" in words)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_shows_a_test_image(path):
    assert [cell for cell in cells_of(path, "code") if chooses_test_images(cell)] == []


def test_a_cell_that_shows_a_test_image_is_found():
    assert chooses_test_images('row = tables[name].iloc[0]\npixels = crop(open_image(row["image"]), 128)')
    assert chooses_test_images('figure = examine(root / table[table["split"] == "test"]["image"].iloc[0])')
    assert not chooses_test_images("def examine(path):\n    return open_crop(path, split)")


# --- predict first ---


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.stem[:2] != "00"], ids=lambda path: path.stem)
def test_a_hidden_answer_stands_between_its_question_and_the_result_that_settles_it(path):
    cells, asked = jupytext.read(path).cells, 0
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        hidden = re.findall(r"\n\n<details><summary>(.+?)</summary>\n\n(.+?)\n\n</details>", cell.source, re.DOTALL)
        assert len(hidden) == cell.source.count("<details") == cell.source.count("</details>"), cell.source
        for title, answer in hidden:
            before = without_breaks(cell.source.split("<details>")[0].split("\n\n##")[-1])
            assert "?" in title or "?" in before, title
            assert len(answer.split()) > 20, title
            assert getattr(following, "cell_type", "") == "code", title
        asked += len(hidden)
    assert asked


# --- what has to be said ---


def without_breaks(text: str) -> str:
    return " ".join(text.split())


def calls_of(path) -> set[str]:
    """The names of all functions that a notebook calls, such as figures.matrices."""
    tree = ast.parse("\n".join(cells_of(path, "code")))
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def calling(*names: str, trained: bool = False) -> list:
    """The notebooks that call one of these functions; `trained` leaves out 01 and 02, which show training images."""
    paths = [path for path in NOTEBOOKS if not (trained and path.stem[:2] in ("01", "02"))]
    return [pytest.param(path, id=path.stem) for path in paths if calls_of(path) & set(names)]


@pytest.mark.parametrize("path", calling("figures.matrices"))
def test_what_a_cell_with_one_verdict_means_is_said(path):
    text = without_breaks(markdown_of(path))
    assert "“all real” or “all fake”" in text
    assert "share of that class" in text


@pytest.mark.parametrize(
    "path", calling("cell_values", "cell_changes", "bootstrap.summary", "metric_table", trained=True)
)
def test_on_which_photographs_an_interval_hangs_is_said(path):
    said = r"training (photographs|images) (would|are|held|as)|those of training stay|these training photographs"
    assert re.search(said, without_breaks(markdown_of(path)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_terms_are_explained_where_they_are_used(path):
    text, code = without_breaks(markdown_of(path)), "\n".join(cells_of(path, "code"))
    shown = {"BatchNorm"} if path.stem[:2] == "11" else set()  # in the table of differences
    if "BatchNorm" in text or shown:
        assert re.search(r"\*\*BatchNorm\*\*[^.]* (layer|layers) ", text)
    if re.search(r"\bnats?\b", text + code) or "figures.losses(" in code:
        assert re.search(r"\bnats?\b[^.]*logarithm", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_whoever_tries_values_looks_at_validation_images(path):
    text = markdown_of(path)
    for task in re.findall(r"\*\*Things to try\.\*\*.*?(?=\n\n|\Z)|^## Exercise.*", text, re.DOTALL | re.MULTILINE):
        assert re.search(r"`\[\"validation\"\]`|splits=\[\"validation\"\]", task)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (
            "08",
            "epochs, batch size and the default learning rate, which were chosen before all else, on the validation",
        ),
        (
            "14",
            "Epochs, batch size and default learning rate, common to all agents but for GDumb's memory (notebook 05), "
            "were chosen before that, on the",
        ),
        ("README", "the last three were chosen on the validation photographs of the default stream"),
        ("08", "With limited new data (notebook 14) an agent keeps the values that were chosen with all images"),
        ("14", "`cldf choose` took with all images of the first two domains"),
        ("README", "With limited new data an agent has the values that were chosen with all images"),
        ("06", "it takes those that were chosen for shared outputs"),
        ("08", "*told*, as above, with the values that were chosen for LwF with shared outputs"),
        ("README", "LwF that is told the domain those that were chosen for shared outputs"),
        *((name, "training, testing and the saving of states") for name in ("04", "06", "07", "08", "README")),
        *((name, "MIR's candidates") for name in ("07", "08", "README")),
        *((name, "herding") for name in ("04", "08", "README")),
        ("08", "*joint, same passes* counts each of its networks by itself"),
        ("README", "*joint, same passes* each of joint training's networks is counted by itself"),
        ("05", "This training is GDumb's own"),
        ("08", "on GDumb's memory epochs, batches and rates are its own"),
    ],
)
def test_what_numbers_hold_and_hang_on_is_said(where, words):
    texts = {path.stem[:2]: markdown_of(path) for path in NOTEBOOKS} | {"README": README}
    assert words in without_breaks(texts[where])


def test_words_are_written_in_one_way():
    files = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    files += [path for folder in ("cldf_core", "notebooks", "docs") for path in (PROJECT / folder).rglob("*.[pm][yd]")]
    assert len(files) > 100
    written = {path.name for path in files if re.search(r"\blearnt\b|\bcan not\b", path.read_text(encoding="utf-8"))}
    assert written == set()
