"""`cldf mini check` on made-up scores."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from cldf_core.cli import main
from cldf_core.options import Options, checked
from cldf_core.workflow import benchmark_checks

NAMES = ["mini-GAN-S", "mini-VFHQ", "mini-ForenSynths", "mini-DeepFake", "mini-NeuralTextures"]


class FakeRun:
    """A run whose accuracy after step t on domain i is one of tenths, all of its images in one table."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def accuracy(self, step: int, domain: str) -> float:
        foreign = self.options.agent == "separate" and domain != self.options.stream[step - 1]
        return (0.4 if foreign else 0.9) + self.options.seed / 20

    def scores(self) -> pd.DataFrame:
        steps, names = range(1, len(self.options.stream) + 1), [*self.options.stream, *self.options.unseen]
        labels, tables = np.arange(20) % 2, []
        for step, domain in itertools.product(steps, names):
            right = np.arange(20) < round(20 * self.accuracy(step, domain))
            score = np.where(labels == right, 0.9, 0.1)
            tables.append(pd.DataFrame({"step": step, "domain": domain, "label": labels, "score": score}))
        return pd.concat(tables, ignore_index=True).assign(split=self.options.splits[0])


def test_means_over_seeds_are_held_against_their_limits(monkeypatch):
    monkeypatch.setattr(benchmark_checks, "make_run", FakeRun)
    table = pd.DataFrame(benchmark_checks._learning(range(2), "validation"))
    mean, low, high = 0.925, *stats.t.interval(0.95, 1, 0.925, 0.025)
    first = table[table["statement"] == "1 each alone is learnable"]
    assert first["what"].tolist() == [f"accuracy of {name} on itself" for name in NAMES]
    np.testing.assert_allclose(first[["value", "low", "high"]], [[mean, low, high]] * 5)
    assert first["needed"].tolist() == ["≥ 0.9"] * 3 + ["≥ 0.85", "≥ 0.9"]
    second = table[table["statement"] == "2 the domains differ"]
    assert second.iloc[0][["value", "needed"]].tolist() == [1, "≥ 0.5"]
    assert len(second) == 1 + 16
    np.testing.assert_allclose(second["value"].iloc[1:], 0.425)
    assert set(second["needed"].iloc[1:]) == {"shown", "≤ 0.7"}
    third, fourth = table[table["statement"].str[0] == "3"], table[table["statement"].str[0] == "4"]
    assert (third["value"].item(), third["holds"].item()) == (0, False)  # nothing is forgotten here
    assert fourth["holds"].tolist() == [True, False]  # 0.925 on the unseen domain is more than the 0.9 it may be
    assert fourth["needed"].tolist() == ["≥ 0.9", "0.6 to 0.9"]


def test_facts_of_files_may_not_tell_the_classes_apart(root, mini_smoke, monkeypatch):
    folder = Path(shutil.copytree(mini_smoke, root / "data" / "mini-smoke"))
    options = checked({"data": "mini-smoke", "stream": ["mini-VFHQ"], "unseen": []})
    monkeypatch.setattr(benchmark_checks, "checked", lambda values: options)
    table = pd.DataFrame(benchmark_checks._shortcuts("test"))
    assert len(table) == 2 + 3  # two sets of facts, three periods
    assert table["holds"].all()
    facts, size = table.iloc[0], table.iloc[1]
    assert facts["low"] <= 0.5 <= facts["high"]
    assert size["needed"].startswith("shown")  # it is a trace of the generator itself
    np.testing.assert_allclose(table["value"].iloc[2:], 1, atol=0.05)
    for path in (folder / "fake" / "mini-VFHQ").rglob("*.png"):
        bright = np.asarray(Image.open(path)) // 2 + 128
        Image.fromarray(bright).save(path)
    bright = pd.DataFrame(benchmark_checks._shortcuts("test"))
    assert bright["holds"].tolist() == [False, True, True, True, True]
    assert bright["low"].iloc[0] > 0.75


def test_generators_that_are_not_there_are_told_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_checks, "make_run", lambda *a: pytest.fail("something was trained"))
    assert main(["mini", "check", "--generators", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("cldf: no weights of generator gan-s: ")
