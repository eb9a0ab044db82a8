"""What is said besides a metric table: of domains of one class, of shared real images, and of which sources."""

import numpy as np
import pandas as pd
import pytest

from cldf_core.options import UserError
from cldf_core.results.caveats import UNDEFINED, few
from cldf_core.results.metric_table import metric_table

HOW = {"metrics": ["AUC"], "resamples": 5}


def rows(domain: str, label: int, count: int, seed: int = 0, **columns) -> pd.DataFrame:
    """Scores of images of one class, the fakes' mostly higher."""
    score = 0.6 * np.random.default_rng([seed, label]).random(count) + 0.4 * label
    images = [f"{domain}/{label}-{k}.png" for k in range(count)]
    return pd.DataFrame({"image": images, "domain": domain, "label": label, "score": score, **columns})


def generators(count: int = 50, images: int = 4, **columns) -> list[pd.DataFrame]:
    return [rows(f"generator {k:02d}", 1, images, k, **columns) for k in range(count)]


@pytest.fixture
def notes(tmp_path):
    """What is said of files, but that streams are not known, with the files' folder left out."""

    def say(*tables: list[pd.DataFrame], **how) -> list[str]:
        paths = [tmp_path / f"{name}.csv" for name, _ in zip("abcdefgh", tables, strict=False)]
        for path, table in zip(paths, tables, strict=True):
            pd.concat(table).to_csv(path, index=False)
        said = metric_table(paths, **HOW, **how).attrs["notes"]
        return [text.replace(f"{tmp_path}/", "") for text in said if "stream is not known" not in text]

    return say


def test_many_domains_of_one_class_are_told_in_two_lines_that_name_the_flag(notes):
    fakes = ", ".join(f"generator {k:02d}" for k in range(8)) + " and 42 more"
    table = [rows("real", 0, 30), *generators()]
    remedy = "; --reals shared measures fakes against the real images of other domains"
    want = [
        f"a.csv: {fakes} have fake images only, so {UNDEFINED}{remedy}",
        f"a.csv: real has real images only, so {UNDEFINED}",
    ]
    assert notes(table) == want
    agents = [part.assign(agent=f"detector {k}") for k in range(8) for part in table]
    assert notes(agents) == want  # of a file with many agents, too
    assert notes(table, table, table, table) == [
        text.replace("a.csv", "a.csv, b.csv, c.csv and 1 more") for text in want
    ]
    assert notes(table[1:]) == want[:1][0].replace(remedy, "").split("\n")  # where there is nothing to share
    some = [part for part in agents if set(part["agent"]) != {"detector 3"} or set(part["domain"]) != {"generator 40"}]
    assert [text.partition(" so ")[0] for text in notes(some)] == [
        f"a.csv: {fakes} have fake images only in some of these,",
        "a.csv: real has real images only,",
    ]


def test_one_line_says_what_was_measured_against_which_real_images(notes):
    table = [rows("photos", 0, 30), rows("art", 0, 6), *generators(), rows("both", 0, 5), rows("both", 1, 5)]
    shared = {"reals": "shared"}
    said = "50 domains of fakes only, measured against 36 pooled real images in 36 groups, those of photos, art"
    said += f", where {UNDEFINED}"
    assert notes(table, **shared) == [f"a.csv: {said}"]
    agents = [part.assign(agent=f"detector {k}") for k in range(8) for part in table]
    assert notes(agents, **shared) == [f"a.csv: {said}"]
    # Agents with other pools, and one without.
    other = [part[part["agent"].ne("detector 3") | part["image"].ne("photos/0-7.png")] for part in agents]
    note, images = notes(other, **shared)
    assert "were tested on other images of photos" in images
    assert "against 35 to 36 pooled real images in 35 to 36 groups" in note
    assert note.endswith("; not the same ones for every agent and step")
    none = [part for part in agents if set(part["agent"]) != {"detector 3"} or set(part["domain"]) <= {"generator 00"}]
    first, second = notes(none, **shared)
    assert first.startswith("detector 0 of a.csv, detector 1 of a.csv, detector 2 of a.csv and 4 more: 50 domains")
    assert second == f"detector 3 of a.csv: no real image to share in step 1, so {UNDEFINED} of generator 00"
    # The reals of a domain of both classes are shared only where no domain holds reals only.
    (note,) = notes(table[2:], **shared)
    assert note == (
        "a.csv: 50 domains of fakes only, measured against 5 pooled real images in 5 groups, those of both, "
        "since no domain holds reals only"
    )
    assert notes(table[-2:], **shared) == ["a.csv: no domain holds fakes only, so --reals shared changes nothing"]


def test_fakes_of_a_pooled_photograph_are_counted_and_those_of_its_name_alone_are_told(notes):
    reals, fakes = rows("real", 0, 9).assign(group=range(9)), rows("gan", 1, 6).assign(group=range(4, 10))
    (note,) = notes([reals, fakes], reals="shared")
    assert note.endswith("; 5 fakes drawn with a real image of the same group")
    alike = rows("gan", 1, 2).assign(image=["real/0-3.png", "new.png"])
    (note,) = notes([rows("real", 0, 9), alike], reals="shared")
    told = (
        "; 1 fake drawn with a real image of the same group, which is but a name, such as real/0-3.png, that a column"
    )
    assert f"{told} group may tell apart" in note
    apart = [part.assign(group=name) for part, name in ((rows("real", 0, 9), "r"), (alike, "f"))]
    assert "drawn with" not in notes(apart, reals="shared")[0]


def test_scores_of_many_agents_that_seem_to_be_of_real_are_told_in_one_line(notes):
    table = [rows("real", 0, 30), rows("gan", 1, 30), rows("diffusion", 1, 30, 1)]
    agents = [part.assign(agent=f"detector {k}", score=1 - part["score"]) for k in range(5) for part in table]
    _, said = sorted(notes(agents, reals="shared"), key=lambda text: "P(real)" in text)
    assert said.count("detector") == said.count("AUC is 0.") == 3
    assert said.endswith("; and 2 more: P(real) may have been given, where P(fake) is needed")
    # Of one generator it is known from the pool.
    low = [*table[:2], table[2].assign(score=lambda part: part["score"] / 10)]
    assert any(" on diffusion: P(real)" in text for text in notes(low, reals="shared"))
    assert not any("P(real)" in text for text in notes(low))


def test_where_there_is_no_real_image_to_share_it_is_refused(tmp_path):
    def refused(*parts: pd.DataFrame) -> str:
        pd.concat(parts).to_csv(tmp_path / "s.csv", index=False)
        with pytest.raises(UserError) as error:
            metric_table([tmp_path / "s.csv"], reals="shared", **HOW)
        return str(error.value).replace(f"{tmp_path}/", "")

    said = "--reals is 'shared', but s.csv has no real image in step 1 of test, where 'gan' holds fakes only"
    gan = rows("gan", 1, 6)
    assert refused(gan) == f"{said}, and none elsewhere; allowed here: own"
    assert (
        refused(gan, rows("real", 0, 6).assign(step=2))
        == f"{said}; there are some in step 2 of test; allowed here: own"
    )
    other = rows("real", 0, 6).assign(split="validation")
    assert refused(gan, other) == f"{said}; there are some in step 1 of validation; allowed here: own"
    with pytest.raises(UserError, match="^--reals is 'all'; allowed: own, shared$"):
        metric_table([tmp_path / "s.csv"], reals="all", **HOW)


def test_of_many_names_three_are_told():
    assert few("abcda") == "a, b, c and 1 more"
    assert few("aba") == "a, b"
