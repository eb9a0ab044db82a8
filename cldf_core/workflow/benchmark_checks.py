"""The five things that the embedded benchmark must show, measured: `cldf mini check`.

Checks 1 to 4 are means over seeds with 95 % t intervals; check 5 looks at the images alone. A sixth compares generators
that were trained again with the shipped ones.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from cldf_core.data.files import save_table
from cldf_core.data.images import open_image
from cldf_core.data.layouts.read import data_folder
from cldf_core.data.mini.build import build
from cldf_core.data.mini.generators import load_generators
from cldf_core.data.runtime import project_root
from cldf_core.evaluation.baselines import random_forest
from cldf_core.evaluation.cells import with_interval
from cldf_core.evaluation.metrics import continual, matrix
from cldf_core.evaluation.seeds import t_interval
from cldf_core.evaluation.traces import line_ratio
from cldf_core.options import Options, UserError, checked
from cldf_core.protocol import score_samples
from cldf_core.results.inventory import keep_runs
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.holder import uses
from cldf_core.runs.run import domain_samples, load_spectra, make_run
from cldf_core.spectrum import log_magnitude
from cldf_core.workflow.cluster import HERE, Place
from cldf_core.workflow.engine import make_all


class Row(NamedTuple):
    """One measured value of a check, its 95 % interval (NaN where it has none), and what the check needs it to be."""

    statement: str
    what: str
    value: float
    low: float
    high: float
    needed: str
    holds: bool


def check(*, seeds: int, split: str, generators: Path | None, place: Place = HERE) -> int:
    """Measures everything, prints it and writes figures/tables/mini_check_<split>.csv.

    Each setting is run with so many seeds, from 0 up. The split is "validation" while the benchmark is being made and
    "test" once at the end. `generators` is a folder of those that were trained again. Returns 0 if all checks hold,
    else 1.

    Raises:
        UserError: the folder holds no generators; told before the training.
    """
    if generators:
        try:
            load_generators(generators)
        except ValueError as error:
            raise UserError(str(error)) from None
    make_all(_runs(range(seeds), split), place)
    with uses(project_root() / "runs") as runs:
        rows = _learning(range(seeds), split) + _shortcuts(split)
        if generators:
            rows += _retrained(generators, split, seeds)
    table = pd.DataFrame(rows, columns=Row._fields)
    save_table(table, project_root() / "figures", f"mini_check_{split}")
    keep_runs(f"mini_check_{split}", runs)
    for statement, part in table.groupby("statement"):
        print(f"\n{statement} {'holds' if part['holds'].all() else 'DOES NOT HOLD'}")
        for row in part.itertuples():
            print(f"   {with_interval(row, '.3f')}  {row.what} (needed: {row.needed})")
    return int(not table["holds"].all())


def _runs(seeds: Sequence[int], split: str) -> dict[str, Options]:
    """The runs that checks 1 to 4 read, by what tells them apart."""
    base = checked({"splits": [split]})
    kinds: dict[str, dict[str, Any]] = {agent: {"agent": agent} for agent in ("separate", "sequential", "joint")}
    # The unseen domain alone is a stream of its own, tested on everything.
    kinds["unseen alone"] = {"agent": "separate", "stream": base.unseen[:1], "unseen": base.stream}
    values = {"splits": [split]}
    return {f"{name}, seed {s}": checked({**values, **kind, "seed": s}) for name, kind in kinds.items() for s in seeds}


def _mean(statement: str, what: str, values: np.ndarray, low: float, high: float) -> Row:
    """The mean over seeds, which must lie between low and high; 0 and 1 are no limits."""
    mean, *ends = t_interval(values)
    needed = "shown" if (low, high) == (0, 1) else f"≥ {low}" if high == 1 else f"≤ {high}" if low == 0 else ""
    return Row(statement, what, mean, ends[0], ends[1], needed or f"{low} to {high}", bool(low <= mean <= high))


def _learning(seeds: Sequence[int], split: str) -> list[Row]:
    """Checks 1 to 4. R holds accuracies, shape (seeds, steps, domains); its last domain is the unseen one."""
    base = checked({"splits": [split]})
    stream, unseen = base.stream, base.unseen[0]
    names, T = [*stream, unseen], len(stream)

    runs = _runs(seeds, split)

    def accuracies(kind: str) -> np.ndarray:
        scores = [make_run(runs[f"{kind}, seed {seed}"]).scores() for seed in seeds]
        return np.stack([matrix(table, split=split)[names].to_numpy() for table in scores])

    R = {agent: accuracies(agent) for agent in ("separate", "sequential", "joint")}
    last = accuracies("unseen alone")
    alone = np.concatenate([R["separate"], last], axis=1)
    rows = []
    for k, name in enumerate(names):
        least = 0.85 if "DeepFake" in name else 0.9
        rows.append(_mean("1 each alone is learnable", f"accuracy of {name} on itself", alone[:, k, k], least, 1))
    transfers = [(i, j) for i in range(T) for j in range(T + 1) if i != j]
    share = float(np.mean([alone[:, i, j].mean() < 0.75 for i, j in transfers]))
    statement, what = "2 the domains differ", "share of the 16 transfers whose mean is below 0.75"
    rows.append(Row(statement, what, share, np.nan, np.nan, "≥ 0.5", share >= 0.5))
    for i, j in transfers:
        limit = 0.7 if j == T and "DeepFake" not in names[i] else 1
        rows.append(_mean(statement, f"accuracy of {names[i]} on {names[j]}", alone[:, i, j], 0, limit))
    forgetting, what = "forgetting (max-last)", "forgetting (max-last) over the first domains"
    lost = continual(R["sequential"][:, :, :T])[forgetting]
    rows.append(_mean("3 sequential fine-tuning forgets", what, lost, 0.15, 1))
    statement, joint = "4 joint training is good, and partly general", R["joint"][:, -1]
    rows.append(_mean(statement, "average accuracy over the stream", joint[:, :T].mean(1), 0.9, 1))
    rows.append(_mean(statement, f"accuracy on {unseen}", joint[:, T], 0.6, 0.9))
    return rows


def _retrained(generators: Path, split: str, seeds: int) -> list[Row]:
    """Detectors of the shipped generators' fakes, tested on the fakes of generators that were trained again."""
    base = checked({"splits": [split]})
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(generators.glob("*.safetensors")))).hexdigest()
    folder = project_root() / "data" / f"mini-retrained-{digest[:8]}"
    build(folder, generators=generators, train=1)  # by default as many validation and test images as in mini
    rows = []
    for names, rest in ((base.stream, base.unseen), (base.unseen, base.stream)):
        changes = np.empty((seeds, len(names)))
        for seed in range(seeds):
            options = checked({"agent": "separate", "seed": seed, "splits": [split], "stream": names, "unseen": rest})
            run = make_run(options)
            before = matrix(run.scores(), split=split)
            domains = load_spectra(options.model_copy(update={"data": str(folder)}))
            for k, name in enumerate(names):
                network, _ = load_network(run.model(k + 1))
                samples = domain_samples(domains[name], domains[name].table.query("split == @split"))
                fake = score_samples(network.score, samples) >= 0
                changes[seed, k] = (fake == samples.labels).mean() - before.loc[k + 1, name]
        for name, change in zip(names, changes.T, strict=True):
            what = f"change of accuracy on {name}"
            rows.append(_mean("6 generators trained again behave alike", what, change, -0.05, 0.05))
    return rows


def _shortcuts(split: str) -> list[Row]:
    """Check 5: nothing but the generator tells the classes apart."""
    options, statement = checked({}), "5 no shortcut"
    folder = data_folder(options.data)
    files = pd.read_csv(folder / "splits.csv")
    trace = "shown: in the lossless domains file size is a trace of the generator itself"
    rows = []
    for domain in [*options.stream, *options.unseen]:
        table = files[files["domain"] == domain]
        labels, splits, groups = (table[column].to_numpy() for column in ("label", "split", "group"))
        facts = pd.DataFrame([_facts(folder / file) for file in table["file"]], index=table.index)
        is_jpeg = bool((facts["format"] == "JPEG").all())
        for what, columns in {
            "format, dimensions, JPEG tables, mean colour": facts.columns.drop("bytes"),
            "file size": ["bytes"],
        }.items():
            codes = pd.get_dummies(facts[list(columns)]).to_numpy(float)
            value, low, high = random_forest(codes, labels, splits == "train", splits == split, groups)
            required = is_jpeg or what != "file size"
            needed = "interval contains 0.5" if required else trace
            holds = bool(low <= 0.5 <= high) or not required
            rows.append(Row(statement, f"{domain}: accuracy from {what}", value, low, high, needed, holds))
        reals = table[(table["label"] == 0) & (table["split"] == split)]
        for period, interval in _peaks([folder / file for file in reals["file"]], reals["group"]).items():
            what = f"{domain}: spectrum of reals at period {period} over its neighbours"
            rows.append(Row(statement, what, *interval, "0.95 to 1.05", bool(0.95 <= interval[0] <= 1.05)))
    return rows


def _facts(path: Path) -> dict[str, object]:
    with Image.open(path) as image:
        tables = sum(map(sum, getattr(image, "quantization", {}).values()))
        facts = {"format": image.format, "width": image.width, "height": image.height, "tables": tables}
    colours = zip(("red", "green", "blue"), open_image(path).mean((1, 2)), strict=True)
    return {**facts, "bytes": os.path.getsize(path), **dict(colours)}


def _peaks(paths: Sequence[Path], groups: pd.Series) -> dict[int, tuple[float, float, float]]:
    """Magnitude on the lines of periods 2, 4 and 8, over that on the lines beside them.

    The ratio is exp of the difference of mean log magnitudes; it comes with its 95 % t interval over photographs.
    """
    planes = np.concatenate([log_magnitude(open_image(path)[None]) for path in paths]).mean(1)
    ratios = {}
    for period in (2, 4, 8):
        by_group = pd.Series(line_ratio(planes, period)).groupby(groups.to_numpy()).mean()
        mean, low, high = map(float, np.exp(t_interval(by_group.to_numpy())))
        ratios[period] = (mean, low, high)
    return ratios
