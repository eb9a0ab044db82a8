"""What the finished runs on a data set reach, to stand beside what its files alone give away."""

from __future__ import annotations

import pandas as pd

from cldf_core.data.runtime import project_root
from cldf_core.evaluation.metrics import detection
from cldf_core.runs.folder import MANIFEST, RunFolder


def balanced_accuracies(data: str) -> pd.DataFrame:
    """Balanced accuracy on the test images after the last step.

    Args:
        data: the data set that the runs were trained on.

    Returns:
        A row for each domain, with the domain as index, and a column for each finished run.
    """
    columns = {}
    for path in sorted((project_root() / "runs").glob(f"*/{MANIFEST}")):
        run = RunFolder(path.parent)
        if not run.finished or run.manifest.get("options", {}).get("data") != data:
            continue
        scores = run.scores()
        last = scores[(scores["step"] == scores["step"].max()) & (scores["split"] == "test")]
        columns[path.parent.name] = {
            domain: detection(part["label"].to_numpy(), part["score"].to_numpy())["balanced accuracy"]
            for domain, part in last.groupby("domain")
        }
    return pd.DataFrame(columns).rename_axis("domain")
