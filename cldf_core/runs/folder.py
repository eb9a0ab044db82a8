"""The folder of a run, or of a notebook's execution; every file in it appears whole or not at all.

runs/<name>-<key>/manifest.json              options, data, versions, notes, seconds, peak memory, status
                  scores.parquet             a row for each step, domain, split and image; metrics come from these
                  model-step<k>.safetensors  the network after the k-th domain
                  state/                     what an unfinished run continues from
                  figures/                   a notebook's figures and tables
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.data.files import whole_file

MANIFEST, SCORES, STATE = "manifest.json", "scores.parquet", "state"


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, by its path."""

    path: Path

    @property
    def key(self) -> str:
        """The hash in the folder's name."""
        return self.path.name.rpartition("-")[2]

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest; empty where there is none yet."""
        path = self.path / MANIFEST
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @property
    def finished(self) -> bool:
        """Whether the run has reached its end."""
        return self.manifest.get("status") == "finished"

    @property
    def figures(self) -> Path:
        """Where a notebook writes its figures and tables."""
        return self.path / "figures"

    def scores(self) -> pd.DataFrame:
        """Columns step, domain, split, image, group, label, logit (of fake), score (its sigmoid)."""
        return pd.read_parquet(self.path / SCORES)

    def model(self, step: int) -> Path:
        """The file of the network after a domain, counted from 1."""
        return self.path / f"model-step{step}.safetensors"

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replaces the manifest."""
        with whole_file(self.path / MANIFEST) as path:
            path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Writes a table as parquet; the same table gives the same bytes."""
        with whole_file(self.path / name) as path:
            table.to_parquet(path, index=False)

    def step_scores(self, step: int) -> Path:
        """The file of one step's scores, which is kept until the run is finished."""
        return self.path / STATE / f"scores-step{step}.parquet"

    def forget_state(self) -> None:
        """Removes what an unfinished run continues from."""
        shutil.rmtree(self.path / STATE, ignore_errors=True)
