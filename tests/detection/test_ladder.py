"""The ladder's lower rungs: each sees what it should, learns from what a network would, and is scored as a run is."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score

from cldf_core.data.images import open_image
from cldf_core.detection import ladder
from cldf_core.evaluation.baselines import learned_scores, logistic_regression
from cldf_core.evaluation.cells import cell_values
from cldf_core.evaluation.crossed import differences_over_seeds
from cldf_core.evaluation.traces import sharpness
from cldf_core.runs.run import load_spectra, training_samples
from cldf_core.spectrum import log_magnitude
from samples import make_data, tiny_options


@pytest.fixture
def made(root):
    """Options, and domains whose fakes are a grid ("first"), blurred ("second"), or real ones ("third")."""
    data = make_data(root / "set", ("first", "second", "third"), train=24, test=16)
    for path in sorted(data.glob("fake/second/*/*.png")):
        Image.open(str(path).replace("/fake/", "/real/")).filter(ImageFilter.BoxBlur(1)).save(path)
    for path in sorted(data.glob("fake/third/*/*.png")):
        rows = np.asarray(Image.open(str(path).replace("/fake/", "/real/")))
        Image.fromarray(rows[::-1]).save(path)
    options = tiny_options("separate", data, stream=["first", "second"], unseen=["third"], limit=20)
    return options, load_spectra(options)


def test_each_rung_finds_what_it_sees_in_all_domains(made, tmp_path):
    options, domains = made
    scores = ladder.simple_scores(options, domains, tmp_path)
    assert list(scores) == ladder.COLUMNS
    of = cell_values(scores, "AUC").set_index(["agent", "domain"])["value"]
    assert list(dict.fromkeys(scores["agent"])) == list(ladder.RUNGS[:3])
    assert of[ladder.SHARPNESS, "second"] == 1  # one number is enough for a blur
    assert of[ladder.PROFILE, "first"] > 0.95
    assert of[ladder.PROFILE, "second"] > 0.95
    # An image turned upside down has the same sharpness and profile.
    assert all(0.3 < of[rung, "third"] < 0.7 for rung in ladder.RUNGS[1:3])
    test = domains["first"].table.query("split == 'test'")
    for _, part in scores[scores["domain"] == "first"].groupby("agent"):
        assert part["image"].tolist() == test["image"].tolist()
        assert part["label"].tolist() == test["label"].tolist()
        assert part["score"].between(0, 1).all()


def test_the_rungs_learn_from_the_images_that_a_network_would_learn_from(made, tmp_path):
    options, domains = made
    scores = ladder.simple_scores(options, domains, tmp_path)
    name, learned = training_samples(options, domains)[1]
    table = domains[name].table.set_index("row")
    train, test = table.loc[learned.where[:, 1]], table[table["split"] == "test"]
    assert len(train) == 40  # of 48
    both = pd.concat([train, test])
    pixels = np.stack([open_image(domains[name].root / image) for image in both["image"]])
    numbers = sharpness(log_magnitude(pixels).mean(1))
    want = learned_scores(
        logistic_regression(), numbers[:, None], both["label"].to_numpy(), np.arange(len(both)) < len(train)
    )[len(train) :]
    got = scores[(scores["agent"] == ladder.SHARPNESS) & (scores["domain"] == name)]
    np.testing.assert_allclose(got["score"], want, atol=1e-6)


def test_a_domain_without_both_classes_has_no_rungs(made, tmp_path):
    options, domains = made
    assert ladder.simple_scores(options, domains, tmp_path, split="validation").empty
    for path in (domains["third"].root / "fake" / "third" / "testA").glob("*.png"):
        path.unlink()
    scores = ladder.simple_scores(options, load_spectra(options), tmp_path)
    assert set(scores["domain"]) == {"first", "second"}


def test_what_was_scored_is_read_as_long_as_images_and_options_are_the_same(made, tmp_path, monkeypatch):
    options, domains = made
    first = ladder.simple_scores(options, domains, tmp_path)
    monkeypatch.setattr(ladder, "survey", lambda *_: pytest.fail("surveyed again"))
    pd.testing.assert_frame_equal(ladder.simple_scores(options, domains, tmp_path), first)
    with pytest.raises(pytest.fail.Exception, match="surveyed again"):
        ladder.simple_scores(options.model_copy(update={"limit": 8}), domains, tmp_path)
    (kept,) = tmp_path.glob("*.parquet")
    kept.write_bytes(b"damaged")
    with pytest.raises(pytest.fail.Exception, match="surveyed again"):
        ladder.simple_scores(options, domains, tmp_path)


def test_a_separate_model_is_a_rung_on_its_own_domain():
    scores = pd.DataFrame({"step": [1, 1, 2, 2], "domain": ["a", "b", "a", "b"], "score": [0.1, 0.2, 0.3, 0.4]})
    own = ladder.own_domain(scores.assign(agent="separate"), ["a", "b"], ladder.PIXELS)
    assert own.to_dict("list") == {
        "step": [1, 1],
        "domain": ["a", "b"],
        "score": [0.1, 0.4],
        "agent": [ladder.PIXELS] * 2,
    }


def invented(rung: str, domains: str, seeds: tuple[int | None, ...] = (None,)) -> pd.DataFrame:
    """Scores of a rung on photographs that all rungs share, better than guessing."""
    base = {"step": 1, "split": "test", "image": [f"image{k}" for k in range(40)], "label": [0, 1] * 20}
    base["group"] = [f"group{k // 4}" for k in range(40)]
    rng = np.random.default_rng([len(rung), len(seeds)])
    rows = [
        pd.DataFrame({**base, "agent": rung, "domain": domain, "score": rng.random(40) + np.array([0, 0.4] * 20)})
        for domain in domains
        for _ in seeds
    ]
    return pd.concat(row.assign(seed=seed) for row, seed in zip(rows, seeds * len(domains), strict=True))


def aucs(table: pd.DataFrame) -> pd.Series:
    """The AUC of each seed on each domain."""
    by = table.groupby(["domain", "seed"], dropna=False)[["label", "score"]]
    return by.apply(lambda part: roc_auc_score(part["label"], part["score"]))


def test_gains_are_differences_on_the_same_photographs():
    low, top = invented(ladder.SHARPNESS, "bc"), invented(ladder.SPECTRA, "ab", (3,))
    gains = ladder.gains(pd.concat([low, top]))
    assert gains[["rung", "domain", "n", "spread"]].to_numpy().tolist() == [[ladder.SHARPNESS, "b", 1, "groups"]]
    (row,) = gains.itertuples()
    assert row.value == pytest.approx(aucs(top)["b"].item() - aucs(low)["b"].item())
    assert row.low < row.value < row.high
    assert np.isnan(row.p)
    assert ladder.gains(top).empty


def test_gains_of_several_seeds_are_means_over_those_that_both_have():
    low, pixels = invented(ladder.PROFILE, "ab"), invented(ladder.PIXELS, "ab", (0, 1, 4))
    top = invented(ladder.SPECTRA, "ab", (0, 1, 2, 4))
    gains = ladder.gains(pd.concat([low, pixels, top])).set_index(["rung", "domain"])
    assert gains["n"].tolist() == [4, 4, 3, 3]
    assert set(gains["spread"]) == {"seeds × groups"}
    for domain in "ab":
        above = aucs(top)[domain]
        assert gains.loc[(ladder.PROFILE, domain), "value"] == pytest.approx(above.mean() - aucs(low)[domain].item())
        want = (above[[0, 1, 4]] - aucs(pixels)[domain]).mean()
        assert gains.loc[(ladder.PIXELS, domain), "value"] == pytest.approx(want)
    # Of a rung that was trained once, what varies with the seed is the network on spectra alone.
    crossed = differences_over_seeds(
        pd.concat([top, *(low.assign(seed=seed) for seed in (0, 1, 2, 4))]).query("domain == 'a'"), ["a"], ["AUC"]
    ).set_index("metric")
    row, want = gains.loc[(ladder.PROFILE, "a")], crossed.loc["AUC: average"]
    assert [row["low"], row["high"]] == pytest.approx([want["low"], want["high"]])
