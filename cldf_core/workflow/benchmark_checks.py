"""The five things that cldf-mini must show, measured: `cldf mini check`.

Statements 1 to 4 are means over seeds with 95 % t intervals; statement 5 looks at the images alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from cldf_core.data.files import save_table
from cldf_core.data.images import open_image
from cldf_core.data.layouts.read import data_folder
from cldf_core.data.mini.build import EMBEDDED, build
from cldf_core.data.runtime import project_root
from cldf_core.evaluation.baselines import random_forest
from cldf_core.evaluation.metrics import continual, matrix
from cldf_core.evaluation.seeds import t_interval
from cldf_core.evaluation.traces import line_ratio
from cldf_core.options import Options, checked
from cldf_core.runs.checkpoints import load_network
from cldf_core.runs.run import load_spectra, make_run
from cldf_core.spectrum import log_magnitude
from cldf_core.stream import Samples

LOSSLESS_SIZE = "in the lossless domains file size is a trace of the forger itself"


def check(*, seeds: int, split: str = "test", forgers: Path | None = None) -> int:
    """Measures all five, prints them and writes figures/tables/mini_check_<split>.csv.

    Args:
        seeds: runs with seeds 0 .. seeds - 1.
        split: "validation" while the benchmark is being made, "test" once at the end.
        forgers: a folder of forgers trained anew, whose fakes are then compared with the shipped ones'.

    Returns:
        0 when all hold, 1 when one does not.
    """
    rows = [*_learning(range(seeds), split), *_shortcuts(split), *(_anew(forgers, split, seeds) if forgers else ())]
    table = pd.DataFrame(rows, columns=["statement", "what", "value", "low", "high", "needed", "holds"])
    save_table(table, project_root() / "figures", f"mini_check_{split}")
    for statement, part in table.groupby("statement"):
        print(f"\n{statement} {'holds' if part['holds'].all() else 'DOES NOT HOLD'}")
        for row in part.itertuples():
            print(f"   {row.value:6.3f} [{row.low:.3f}, {row.high:.3f}]  {row.what} (needed: {row.needed})")
    return int(not table["holds"].all())


def _learning(seeds: Sequence[int], split: str) -> list[tuple[object, ...]]:
    base = checked({"splits": [split]})
    stream, unseen = base.stream, base.unseen[0]
    R: dict[str, list[np.ndarray]] = {"alone": [], "sequential": [], "joint": []}
    for seed in seeds:
        run = {"seed": seed, "splits": [split]}
        # The unseen domain alone: a stream of its own, tested on everything.
        itself = _matrix({**run, "agent": "separate", "stream": [unseen], "unseen": stream}, [*stream, unseen])
        separate = _matrix({**run, "agent": "separate"}, [*stream, unseen])
        R["alone"].append(np.concatenate([separate, itself]))
        R["sequential"].append(_matrix({**run, "agent": "sequential"}, [*stream, unseen]))
        R["joint"].append(_matrix({**run, "agent": "joint"}, [*stream, unseen]))
    results = {name: np.stack(values) for name, values in R.items()}
    return [row for part in (_alone, _differ, _forgets, _joint) for row in part(results, base)]


def _matrix(values: Mapping[str, object], domains: Sequence[str]) -> np.ndarray:
    options = checked(values)
    scores = make_run(options).scores()
    return matrix(scores, split=options.splits[0])[list(domains)].to_numpy()


def _row(statement: str, what: str, values: np.ndarray, low: float, high: float) -> tuple[object, ...]:
    mean, *interval = t_interval(values)
    needed = f"≥ {low}" if high == 1 else f"≤ {high}" if low == 0 else f"{low} to {high}"
    return statement, what, mean, *interval, needed, bool(low <= mean <= high)


def _alone(R: dict[str, np.ndarray], o: Options) -> list[tuple[object, ...]]:
    names = [*o.stream, *o.unseen]
    return [
        _row(
            "1 each alone is learnable",
            f"accuracy of {name} on itself",
            R["alone"][:, k, k],
            0.85 if "DeepFake" in name else 0.9,
            1,
        )
        for k, name in enumerate(names)
    ]


def _differ(R: dict[str, np.ndarray], o: Options) -> list[tuple[object, ...]]:
    names, trained = [*o.stream, *o.unseen], R["alone"][:, : len(o.stream)]
    rows: list[tuple[object, ...]] = []
    off = [(i, j) for i in range(len(o.stream)) for j in range(len(names)) if i != j]
    share = np.mean([trained[:, i, j].mean() < 0.75 for i, j in off])
    rows.append(
        (
            "2 the domains differ",
            "share of the 16 transfers whose mean is below 0.75",
            float(share),
            np.nan,
            np.nan,
            "≥ 0.5",
            bool(share >= 0.5),
        )
    )
    for i, j in off:
        limit = 0.7 if j == len(o.stream) and "DeepFake" not in names[i] else 1
        what = f"accuracy of {names[i]} on {names[j]}"
        mean, *interval = t_interval(trained[:, i, j])
        needed = f"≤ {limit}" if limit < 1 else "shown"
        rows.append(("2 the domains differ", what, mean, *interval, needed, bool(mean <= limit)))
    return rows


def _forgets(R: dict[str, np.ndarray], o: Options) -> list[tuple[object, ...]]:
    values = continual(R["sequential"][:, :, : len(o.stream)])["forgetting (max-last)"]
    return [_row("3 sequential fine-tuning forgets", "forgetting (max-last) over the first domains", values, 0.15, 1)]


def _joint(R: dict[str, np.ndarray], o: Options) -> list[tuple[object, ...]]:
    last, T = R["joint"][:, -1], len(o.stream)
    name = "4 joint training is good, and partly general"
    return [
        _row(name, "average accuracy over the stream", last[:, :T].mean(1), 0.9, 1),
        _row(name, f"accuracy on {o.unseen[0]}", last[:, T], 0.6, 0.9),
    ]


def _anew(forgers: Path, split: str, seeds: int) -> list[tuple[object, ...]]:
    """Detectors trained on the shipped forgers' fakes, tested on those of forgers trained anew."""
    base = checked({"splits": [split]})
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(forgers.glob("*.safetensors")))).hexdigest()
    folder = project_root() / "data" / f"mini-anew-{digest[:8]}"
    squares = EMBEDDED["mini"]
    build(folder, forgers=forgers, train=1, validation=squares["validation"], test=squares["test"])
    rows: list[tuple[object, ...]] = []
    for names, rest in ((base.stream, base.unseen), (base.unseen, base.stream)):
        changes: list[list[float]] = [[] for _ in names]
        for seed in range(seeds):
            options = checked({"agent": "separate", "seed": seed, "splits": [split], "stream": names, "unseen": rest})
            run = make_run(options)
            before = matrix(run.scores(), split=split)
            anew = load_spectra(options.model_copy(update={"data": str(folder)}))
            for k, name in enumerate(names):
                network, _ = load_network(run.path / f"model-step{k + 1}.safetensors")
                table = anew[name].table[anew[name].table["split"] == split]
                samples = Samples.from_array(anew[name].array, table["label"].to_numpy(), rows=table["row"].to_numpy())
                with torch.no_grad():
                    logits = torch.cat([network(samples.read(slice(i, i + 256))) for i in range(0, len(samples), 256)])
                right = (logits.argmax(1).numpy() == samples.labels).mean()
                changes[k].append(float(right - before.loc[k + 1, name]))
        for name, change in zip(names, changes, strict=True):
            mean, *interval = t_interval(np.array(change))
            rows.append(
                (
                    "6 forgers trained anew behave alike",
                    f"change of accuracy on {name}",
                    mean,
                    *interval,
                    "-0.05 to 0.05",
                    bool(abs(mean) <= 0.05),
                )
            )
    return rows


def _shortcuts(split: str) -> list[tuple[object, ...]]:
    """Statement 5: nothing but the forger tells the classes apart."""
    o = checked({})
    folder = data_folder(o.data)
    files = pd.read_csv(folder / "splits.csv")
    rows: list[tuple[object, ...]] = []
    name = "5 no shortcut"
    for domain in [*o.stream, *o.unseen]:
        table = files[files["domain"] == domain]
        labels, splits, groups = (table[column].to_numpy() for column in ("label", "split", "group"))
        facts = pd.DataFrame([_facts(folder / file) for file in table["file"]], index=table.index)
        jpeg = (facts["format"] == "JPEG").all()
        for what, columns in {
            "format, dimensions, JPEG tables, mean colour": facts.columns.drop("bytes"),
            "file size": ["bytes"],
        }.items():
            value, low, high = random_forest(
                pd.get_dummies(facts[list(columns)]).to_numpy(float), labels, splits == "train", splits == split, groups
            )
            required = jpeg or what != "file size"
            needed = "interval contains 0.5" if required else f"shown: {LOSSLESS_SIZE}"
            rows.append(
                (
                    name,
                    f"{domain}: accuracy from {what}",
                    value,
                    low,
                    high,
                    needed,
                    bool(low <= 0.5 <= high) or not required,
                )
            )
        real = table[(table["label"] == 0) & (table["split"] == split)]
        for period, (value, low, high) in _peaks([folder / f for f in real["file"]], real["group"]).items():
            rows.append(
                (
                    name,
                    f"{domain}: spectrum of reals at period {period} over its neighbours",
                    value,
                    low,
                    high,
                    "0.95 to 1.05",
                    bool(0.95 <= value <= 1.05),
                )
            )
    return rows


def _facts(path: Path) -> dict[str, object]:
    with Image.open(path) as image:
        tables = sum(map(sum, getattr(image, "quantization", {}).values()))
        facts: dict[str, object] = {
            "format": image.format,
            "width": image.width,
            "height": image.height,
            "tables": tables,
            "bytes": os.path.getsize(path),
        }
    mean = open_image(path).mean((1, 2))
    return {**facts, "red": mean[0], "green": mean[1], "blue": mean[2]}


def _peaks(paths: Sequence[Path], groups: pd.Series) -> dict[int, tuple[float, float, float]]:
    """Mean magnitude on the lines of periods 2, 4 and 8 over that of the lines beside them.

    Returns:
        For each period the ratio, exp of the difference of mean log magnitudes, with a 95 % t interval
        over photographs.
    """
    planes = np.concatenate([log_magnitude(open_image(path)[None]) for path in paths]).mean(1)
    found = {}
    for period in (2, 4, 8):
        of_group = pd.Series(line_ratio(planes, period)).groupby(groups.to_numpy()).mean()
        mean, low, high = t_interval(of_group.to_numpy())
        found[period] = (float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)))
    return found
