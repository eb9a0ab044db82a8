"""The lower rungs of the ladder of baselines: scores of classifiers that see much less than a network does.

Each learns from the training images of one domain, the same that a network would learn from, and scores the images of
that domain: boosted trees what the files say (`audit.FACTS`), logistic regressions one number, the sharpness, or the
radial profile of the log-magnitude spectrum, the mean of the three colours. What a network adds is how far it is above
them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from cldf_core.data.cache import Spectra
from cldf_core.data.files import keep_table, kept_table
from cldf_core.data.images import open_crop
from cldf_core.data.intake.audit import facts_of_files
from cldf_core.data.intake.scan import survey
from cldf_core.data.source_trees import tree_hash
from cldf_core.evaluation.baselines import file_trees, learned_scores, logistic_regression
from cldf_core.evaluation.bootstrap import ENDS, paired_matrices
from cldf_core.evaluation.crossed import crossed_difference
from cldf_core.evaluation.traces import radial_profile, sharpness
from cldf_core.options import Options
from cldf_core.runs.run import training_samples
from cldf_core.spectrum import InputSpec, log_magnitude

BLOCK = 64  # images that are decoded at once
# From the bottom up; `simple_scores` makes the first three.
RUNGS = ("file facts", "sharpness", "radial profile", "pixels, network", "spectra, network")
FACTS, SHARPNESS, PROFILE, PIXELS, SPECTRA = RUNGS
COLUMNS = ["agent", "step", "domain", "split", "image", "group", "label", "score"]


def simple_scores(
    options: Options, domains: Mapping[str, Spectra], folder: Path, *, split: str = "test"
) -> pd.DataFrame:
    """Scores the images of a split by the three classifiers that are no networks, each domain by its own.

    A second call with the same images, options and code reads the table that the first one has kept in the folder.

    A domain is left out where its images of that split, or those to learn from, lack a class. The images are cropped
    as the options say, and of the training images those count that a network with these options would learn from.

    Returns:
        COLUMNS, as of runs: the agent is one of RUNGS, the step 1, and the score P(fake).
    """
    code = tree_hash(["detection.ladder"], without=["options", "data.layouts", "data.files", "data.mini"])
    libraries = [version(name) for name in ("scikit-learn", "pillow", "numpy", "scipy")]
    parts = [options.model_dump(), {name: d.fingerprint for name, d in domains.items()}, split, code, libraries]
    path = folder / f"rungs-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}.parquet"
    if (kept := kept_table(path)) is None:
        keep_table(kept := _simple_scores(options, domains, split), path)
    return kept


def _simple_scores(options: Options, domains: Mapping[str, Spectra], split: str) -> pd.DataFrame:
    learnable = {name: domain for name, domain in domains.items() if _both(domain.table, "train")}
    alone = options.model_copy(update={"stream": list(learnable), "unseen": []})
    spec, parts = InputSpec.from_options(options), {}
    for name, learned in training_samples(alone, learnable):
        rows = (learned[0] if isinstance(learned, list) else learned).where[:, 1]
        table = learnable[name].table
        images = table[((table["split"] == "train") & table["row"].isin(rows)) | (table["split"] == split)]
        if _both(images, split):
            parts[name] = images
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    at = {name: learnable[name].root for name in parts}
    said = {
        root: survey(root, pd.concat(images["image"] for name, images in parts.items() if at[name] == root))
        for root in dict.fromkeys(at.values())
    }
    tables = [
        _scores(name, images.merge(said[at[name]], on="image"), at[name], spec, options.seed)
        for name, images in parts.items()
    ]
    scores = pd.concat(tables, ignore_index=True)
    return scores.loc[scores["split"] == split, COLUMNS].reset_index(drop=True)


def own_domain(scores: pd.DataFrame, stream: Sequence[str], rung: str) -> pd.DataFrame:
    """Takes from the scores of separate models each domain's by its own model, as another rung of `simple_scores`."""
    own = scores[scores["domain"] == scores["step"].map(dict(enumerate(stream, start=1)))]
    return own.assign(agent=rung, step=1)


def gains(scores: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """Computes the AUC of the network on spectra minus that of every other rung, on the domains that both have.

    Networks may have several seeds (column seed): the difference is then a mean over those that both have, and a rung
    without a seed is the same in all of them.

    Returns:
        Columns rung, domain, value, low, high, p (NaN with a single seed), n (seeds) and spread (`crossed_difference`);
        the 95 % intervals are paired by photograph, and by seed.

    Raises:
        UserError: the rungs were tested on other images, or with other groups.
    """
    rungs = {str(rung): table for rung, table in scores.groupby("agent", sort=False)}
    top, tables = rungs.pop(SPECTRA), []
    for rung, table in rungs.items():
        pair = [one[one["domain"].isin(other["domain"])] for one, other in ((top, table), (table, top))]
        above, below = (dict(list(own.groupby("seed", dropna=False))) for own in pair)
        if alone := [own for seed, own in below.items() if pd.isna(seed)]:
            below = dict.fromkeys(above, *alone)
        if seeds := [seed for seed in above if seed in below]:
            runs = paired_matrices([own[seed] for own in (above, below) for seed in seeds], ["AUC"], split=split)
            columns = crossed_difference([R.metrics["AUC"] for R in runs]).columns()
            cells = {name: column.ravel() for name, column in columns.items()}
            tables.append(pd.DataFrame({"rung": rung, "domain": runs[0].domains, **cells, "n": len(seeds)}))
    names = ["rung", "domain", *ENDS, "p", "n", "spread"]
    return (pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()).reindex(columns=names)


def _both(table: pd.DataFrame, split: str) -> bool:
    return table.loc[table["split"] == split, "label"].nunique() == 2


def _scores(name: str, images: pd.DataFrame, root: Path, spec: InputSpec, seed: int) -> pd.DataFrame:
    """The scores of all images of a domain, given with what their files say, by classifiers of its training images."""
    paths, labels = [root / image for image in images["image"]], images["label"].to_numpy()
    train = (images["split"] == "train").to_numpy()
    blocks = (np.stack([open_crop(path, spec) for path in paths[k : k + BLOCK]]) for k in range(0, len(paths), BLOCK))
    planes = np.concatenate([log_magnitude(block).mean(1) for block in blocks])
    facts, categorical = facts_of_files(images)
    rungs = {
        FACTS: (file_trees(categorical, seed), facts),
        SHARPNESS: (logistic_regression(), sharpness(planes)[:, None]),
        PROFILE: (logistic_regression(), radial_profile(planes)[1]),
    }
    scored = {rung: learned_scores(*how, labels, train) for rung, how in rungs.items()}
    base = images.assign(step=1, domain=name)
    return pd.concat(base.assign(agent=rung, score=score) for rung, score in scored.items())
