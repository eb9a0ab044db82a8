"""Shows that two checkouts of this project give the same scores and the same networks, bit for bit.

    python tests/long/compare_checkouts.py OLD NEW
    python tests/long/compare_checkouts.py OLD NEW --profile quick       # ER and MIR of notebook 07; several minutes
    python tests/long/compare_checkouts.py OLD NEW --only mir original   # the runs with either word in their name
    python tests/long/compare_checkouts.py OLD NEW --schedule-tolerance 1e-6

Each checkout trains in a process of its own, with its own package (PYTHONPATH) and an empty folder for its runs
(CLDF_ROOT). Then every run is compared: the rows of scores.parquet in their order, and each tensor of each network.
One line is printed for each run, and the exit status is 1 if any run differs or fails.

Module and option names may differ between the two checkouts: the code that runs inside of them tries the new names
and then the old ones. Convolutions by Winograd's algorithm, where a checkout has them, are replaced by torch's in
both, since the two round differently. With `--schedule-tolerance`, GDumb's runs with warm restarts are not compared by
bits: 20 updates on a fixed random memory may lead to weights that differ by so much at most. pytest does not collect
this file.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import load_file

# Old and new names of options; a checkout gets those that it knows.
NEW_NAMES = {"statistics": "mir_statistics", "counted": "reservoir_count", "groups": "gdumb_groups"}
NEW_NAMES |= {"heads": "icarl_heads", "passes": "replay_passes", "shift": "corruption", "shift_factors": "severities"}
AGENTS = ("separate", "sequential", "joint", "icarl", "gdumb", "lwf", "er", "mir")
# The original code's defaults, a ResNet-34 on 224 pixels, do not fit the embedded images.
SMALL = {"size": 128, "network": "slim", "chunks": 2, "batch": 10}
VARIANTS: dict[str, dict[str, Any]] = {"paper": {}, "original": SMALL}
# Settings that take other paths through the code, each for some agents in both variants.
DECAY = {"schedule": "constant", "lr_decay": 0.1, "epochs": 2, "plane": "full", "precision": "float32", "band": "high"}
PIXELS = {"feature": "image", "validation_share": 0.25, "splits": ["validation"], "unseen": [], "test_jpeg": 80}
NOISE = {"shift": "noise", "shift_factors": [0.0, 0.02, 0.05], "chunks": 3, "batch": 4, "band": "mid", "plane": "half"}
SETTINGS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "decay": (("sequential", "lwf", "mir"), DECAY),
    "pixels": (("er", "icarl"), PIXELS),
    "noise": (("separate", "gdumb", "mir"), {**NOISE, "memory_schedule": "constant", "limit": 12}),
    "cycles": (("gdumb",), {"memory_epochs": 4, "memory_batch": 4}),
    "switches": (("mir",), {"statistics": "moving", "counted": "batch", "passes": "joined", "lr": 0.001}),
}
# GDumb's 20 updates: 4 passes of 5 batches.
FIT = {"memory": 80, "memory_epochs": 4, "memory_batch": 16, "feature": "image", "size": 32, "width": 8}
KEYS = ["step", "domain", "split", "image", "label"]


def planned(checkout: Path, profile: str) -> dict[str, dict[str, Any]]:
    """Options of every run by its name, <agent>-<variant> and the setting if there is one, in the old names."""
    notebook = "07_er_and_mir" if profile == "quick" else "08_cross_data_set_evaluation"
    values = yaml.safe_load((checkout / "params" / profile / f"{notebook}.yaml").read_text(encoding="utf-8")) or {}
    if profile == "quick":
        return {f"{agent}-paper": {**values, "agent": agent, "variant": "paper"} for agent in ("er", "mir")}
    runs = {
        f"{agent}-{variant}": {**values, **small, "agent": agent, "variant": variant}
        for variant, small in VARIANTS.items()
        for agent in AGENTS
    }
    for setting, (agents, changes) in SETTINGS.items():
        for agent, variant in ((a, v) for a in agents for v in VARIANTS):
            runs[f"{agent}-{variant}-{setting}"] = {**runs[f"{agent}-{variant}"], **changes}
    return runs


def train(plan: Path) -> None:
    """Makes the runs of a plan, one after another, and writes where each lies, or why there is none."""
    import cldf_core

    job = json.loads(plan.read_text(encoding="utf-8"))
    package = Path(cldf_core.__file__).resolve()
    if not package.is_relative_to(job["checkout"]):
        raise SystemExit(f"cldf_core comes from {package}, which is not in {job['checkout']}")
    if importlib.util.find_spec("cldf_core.inference"):  # convolutions by Winograd's algorithm
        mode = importlib.import_module("cldf_core.inference").QuickInference
        mode.__torch_function__ = lambda self, func, types, args=(), kwargs=None: func(*args, **(kwargs or {}))
    module, function = ("run", "make_run") if importlib.util.find_spec("cldf_core.runs.run") else ("experiment", "run")
    make_run = getattr(importlib.import_module(f"cldf_core.runs.{module}"), function)
    results: dict[str, dict[str, str]] = {}
    for name, values in job["runs"].items():
        print(f"  {name}", file=sys.stderr, flush=True)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # notes on the data
                results[name] = {"path": str(make_run(options_of(values)).path)}
        except Exception as error:
            traceback.print_exc()
            results[name] = {"error": f"{type(error).__name__}: {error}"}
    if job["fit"]:
        fit_memory(plan.with_name("fit.safetensors"))
    plan.with_name("results.json").write_text(json.dumps(results), encoding="utf-8")


def options_of(values: dict[str, Any]) -> Any:
    """Checked options under the names that this checkout knows."""
    from cldf_core import options

    names = getattr(options, "FIELDS", options.Options.model_fields)  # of all agents
    known = {NEW_NAMES.get(k, k) if NEW_NAMES.get(k) in names else k: v for k, v in values.items()}
    if known["variant"] == "original":
        try:
            options.checked({"variant": "original"})
        except ValueError:
            known["variant"] = "seed"
    return options.checked(known)


def fit_memory(path: Path) -> None:
    """Trains GDumb's network on a memory of random images, and writes its weights."""
    import torch
    from safetensors.torch import save_file

    from cldf_core.agents import build_agent
    from cldf_core.stream import Samples, Step

    torch.set_num_threads(1)
    agent = build_agent(options_of({**FIT, "agent": "gdumb", "variant": "paper"}))
    images = np.random.default_rng(0).standard_normal((80, 3, 32, 32)).astype(np.float32)
    from_array: Any = Samples.from_array if hasattr(Samples, "from_array") else Samples.of
    step = agent.begin_step(Step(0, "random", 0, True, from_array(images, np.arange(80) % 2), 1, 16))
    for batch in step.batches(0):
        agent.observe(batch)
    agent.end_step(step)
    assert {int(v) for k, v in agent.network.state_dict().items() if k.endswith("num_batches_tracked")} == {20}
    save_file({k: v.detach().contiguous() for k, v in agent.network.named_parameters()}, path)


def results_of(checkout: Path, folder: Path, runs: dict[str, dict[str, Any]], fit: bool) -> dict[str, dict[str, str]]:
    """Makes the runs with one checkout's code in a new folder; the run's path or an error, by the run's name."""
    root = folder / "root"
    for part in ("params", "notebooks"):
        shutil.copytree(checkout / part, root / part, ignore=shutil.ignore_patterns("*.ipynb"))
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"checkout": str(checkout), "runs": runs, "fit": fit}), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLDF_")}
    environment |= {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"CLDF_ROOT": str(root), "CLDF_PROGRESS": "0"}
    print(f"training with {checkout}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, __file__, "--inside", str(plan)], env=environment, cwd=folder, check=True)
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def score_difference(old: Path, new: Path) -> str | None:
    """The first difference between two runs' scores, in words; None if there is none."""
    a, b = tables = [pd.read_parquet(run / "scores.parquet") for run in (old, new)]
    if len(a) != len(b) or not len(a):
        return f"{len(a)} and {len(b)} scores"
    if kinds := {str(t[name].dtype) for t in tables for name in ("logit", "score")} - {"float64"}:
        return f"logits or scores are {kinds}"
    keys = (a[KEYS].astype(str).to_numpy() != b[KEYS].astype(str).to_numpy()).any(axis=1)
    values = [np.ascontiguousarray(t[["logit", "score"]].to_numpy()).view(np.int64) for t in tables]
    rows = np.flatnonzero(keys | (values[0] != values[1]).any(axis=1))
    if not len(rows):
        return None
    x, y = a.iloc[rows[0]], b.iloc[rows[0]]
    where = ", ".join(f"{k} {x[k]}" if x[k] == y[k] else f"{k} {x[k]} and {y[k]}" for k in KEYS)
    return f"{where}: logits {x['logit']!r} and {y['logit']!r} ({len(rows)} of {len(a)} rows differ)"


def network_difference(old: Path, new: Path) -> str | None:
    """The first difference between two runs' networks, in words; None if there is none."""
    files = [sorted(f.name for f in run.glob("model-step*.safetensors")) for run in (old, new)]
    if files[0] != files[1] or not files[0]:
        return f"networks {files[0]} and {files[1]}"
    for file in files[0]:
        a, b = ({k: (v.dtype, v.shape, v.tobytes()) for k, v in load_file(run / file).items()} for run in (old, new))
        if a.keys() != b.keys():
            return f"{file}: tensors in one only: {sorted(a.keys() ^ b.keys())}"
        if different := [name for name in a if a[name] != b[name]]:
            return f"{file}: tensor {different[0]} differs"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--profile", choices=("smoke", "quick"), default="smoke")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="runs, or words of their names, such as mir")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder that the runs stay in")
    parser.add_argument("--schedule-tolerance", type=float, metavar="X", help="for GDumb's weights after 20 updates")
    asked = parser.parse_args()
    old, new = asked.old.resolve(), asked.new.resolve()
    runs = planned(old, asked.profile)
    if asked.only:
        runs = {name: v for name, v in runs.items() if {name, *name.split("-")} & set(asked.only)}
    tolerance = asked.schedule_tolerance
    if tolerance is not None:
        warm = [n for n, v in runs.items() if n.startswith("gdumb-paper") and v.get("memory_schedule") != "constant"]
        runs = {name: v for name, v in runs.items() if name not in warm}
    if not runs and tolerance is None:
        parser.error("no run has such a name")
    with tempfile.TemporaryDirectory() if asked.keep is None else contextlib.nullcontext(asked.keep) as parent:
        folders = [Path(parent).resolve() / side for side in ("old", "new")]
        for folder in folders:
            folder.mkdir(parents=True)
        both = [results_of(c, f, runs, tolerance is not None) for c, f in zip((old, new), folders, strict=True)]
        failed = sum(not report(name, *(result[name] for result in both)) for name in runs)
        if tolerance is not None:
            a, b = (load_file(folder / "fit.safetensors") for folder in folders)
            largest = max(float(np.abs(a[name] - b[name]).max()) for name in a.keys() | b.keys())
            failed += not largest <= tolerance
            print(f"GDumb after 20 updates: weights differ by {largest:.3g} at most; allowed: {tolerance:g}")
    print(f"{failed} differences" if failed else "no difference")
    return 1 if failed else 0


def report(name: str, old: dict[str, str], new: dict[str, str]) -> bool:
    """Prints a run's line; whether its results are equal."""
    if errors := [f"{side} fails: {r['error']}" for side, r in (("old", old), ("new", new)) if "error" in r]:
        print(f"FAILS   {name}: {'; '.join(errors)}")
        return False
    paths = Path(old["path"]), Path(new["path"])
    difference = score_difference(*paths) or network_difference(*paths)
    count = len(pd.read_parquet(paths[0] / "scores.parquet"))
    print(f"DIFFERS {name}: {difference}" if difference else f"equal   {name}: {count} scores and all networks")
    return difference is None


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        train(Path(sys.argv[2]))
    else:
        sys.exit(main())
