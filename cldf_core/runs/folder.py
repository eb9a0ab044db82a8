"""The files of a run: manifest, scores, metrics, models, and the state it resumes from.

runs/<name>-<key>/manifest.json           options, versions, threads, data, seconds, peak memory, status
                  scores.parquet          one row per step, split and image
                  metrics.parquet         detection metrics per step, domain and split
                  model-step<k>.safetensors
                  state/                  while the run is unfinished
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.data.files import whole_file

MANIFEST, SCORES, METRICS, STATE = "manifest.json", "scores.parquet", "metrics.parquet", "state"


@dataclass(frozen=True)
class RunFolder:
    """One run's folder, read and written whole file by whole file."""

    path: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest; empty when there is none yet."""
        path = self.path / MANIFEST
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @property
    def finished(self) -> bool:
        """Whether the run went to its end."""
        return self.manifest.get("status") == "finished"

    @property
    def figures(self) -> Path:
        """Where a notebook draws to."""
        return self.path / "figures"

    def scores(self) -> pd.DataFrame:
        """step, domain, split, image, group, label, logit, score; one row per step, split and image."""
        return pd.read_parquet(self.path / SCORES)

    def metrics(self) -> pd.DataFrame:
        """step, domain, split, metric, value."""
        return pd.read_parquet(self.path / METRICS)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replaces the manifest."""
        with whole_file(self.path / MANIFEST) as path:
            path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Writes a table as parquet; the same table gives the same bytes."""
        with whole_file(self.path / name) as path:
            table.to_parquet(path, index=False)

    def step_scores(self, step: int) -> Path:
        """Scores of one step, kept until the run is finished."""
        return self.path / STATE / f"scores-step{step}.parquet"

    def forget_state(self) -> None:
        """Removes what only an unfinished run needs."""
        shutil.rmtree(self.path / STATE, ignore_errors=True)
