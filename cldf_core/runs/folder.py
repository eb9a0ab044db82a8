"""The folder of a run, or of a notebook's execution; every file in it appears whole or not at all.

In runs/<name>-<key>/:

    manifest.json              options, data, versions, notes, seconds, memory, status; a hash of itself, and one of
                               each other file, but for the state, which has its own
    scores.parquet             a row for each step, domain, split and image; metrics come from these
    model-step<k>.safetensors  the network after the k-th domain
    state/                     what an unfinished run continues from (see `checkpoints.States`)
    kept/                      the last state of a finished run, from which others go on
    lineage.json               which run it went on from, and what that was made with
    figures/                   a notebook's figures and tables
"""

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cldf_core.data.files import file_hash, keep_table, kept_table, read_record, whole_file, write_record
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError

MANIFEST, SCORES, STATE = "manifest.json", "scores.parquet", "state"
KEPT, LINEAGE = "kept", "lineage.json"
COLUMNS = ("step", "domain", "split", "image", "group", "label", "logit", "score")  # of SCORES


def named_path(name: str | Path) -> Path:
    """The path of what is named by its path, from here or from the root (runs/er-1a2b), or by its name in runs/."""
    places = [folder / os.path.expanduser(name) for folder in (Path(), project_root(), project_root() / "runs")]
    return next(filter(os.path.lexists, places), places[-1])  # lexists takes a name that is too long, too


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
        """The manifest; empty where there is none yet, and a UserError where it is damaged."""
        path = self.path / MANIFEST
        try:
            return read_record(path) if path.is_file() else {}
        except ValueError:
            raise damage(path) from None

    @property
    def finished(self) -> bool:
        """Whether the run has reached its end; that of a damaged manifest has not."""
        try:
            return self.manifest.get("status") == "finished"
        except UserError:
            return False

    @property
    def figures(self) -> Path:
        """Where a notebook writes its figures and tables."""
        return self.path / "figures"

    def once(self, name: str, make: Callable[[], pd.DataFrame], *parts: str) -> pd.DataFrame:
        """The table that a function makes, or the one kept here that it made when its source and the parts were these.

        Parts name all else that the table depends on, such as runs, whose names stand for their options and data.
        """
        key = hashlib.sha256(json.dumps([inspect.getsource(make), *parts]).encode()).hexdigest()[:12]
        path = self.path / f"{name}-{key}.parquet"
        if (kept := kept_table(path)) is None:
            keep_table(kept := make(), path)
        return kept

    @property
    def files(self) -> dict[str, str]:
        """The hash of each file, by its name, as the manifest has it."""
        files = self.manifest.get("files")
        return files if isinstance(files, dict) else {}

    def damaged(self) -> Path | None:
        """The first file that is not as it was written; None if all are."""
        try:
            files = self.files
        except UserError:
            return self.path / MANIFEST
        return next((self.path / name for name, digest in files.items() if not self.is_whole(name, digest)), None)

    def whole(self, name: str) -> Path:
        """The path of a file; a UserError where it is not as it was written."""
        if not self.is_whole(name):
            raise damage(self.path / name)
        return self.path / name

    def is_whole(self, name: str, written: str | None = None) -> bool:
        """Whether a file is as it was written: its hash is this or, by default, that in the manifest, if any."""
        path, written = self.path / name, written or self.files.get(name)
        return written is None or (path.is_file() and file_hash(path) == written)

    def hashes(self, *paths: Path) -> dict[str, str]:
        """What the manifest is to say of files in the folder, which have just been written."""
        return {path.relative_to(self.path).as_posix(): file_hash(path) for path in paths}

    def scores(self) -> pd.DataFrame:
        """Columns step, domain, split, image, group, label, logit (of fake), score (its sigmoid)."""
        path = self.whole(SCORES)
        try:
            return pd.read_parquet(path)[list(COLUMNS)]
        except Exception:  # of a run whose manifest has no hash of it: pyarrow raises errors of many kinds
            raise damage(path) from None

    def score_tables(self) -> list[pd.DataFrame]:
        """The table of all scores, or, while the run is unfinished, those of the steps that are done."""
        if self.finished:
            return [self.scores()]
        steps = [step["step"] - 1 for step in self.manifest.get("steps", [])]
        paths = [self.step_scores(step) for step in dict.fromkeys(steps)]
        return [pd.read_parquet(path) for path in paths if path.is_file()]

    def model(self, step: int) -> Path:
        """The file of the network after a domain, counted from 1."""
        return self.path / f"model-step{step}.safetensors"

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replaces the manifest."""
        write_record(self.path / MANIFEST, manifest, indent=2)

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Writes a table as parquet; the same table gives the same bytes."""
        with whole_file(self.path / name) as path:
            table.to_parquet(path, index=False)

    def step_scores(self, step: int) -> Path:
        """The file of one step's scores, which is kept until the run is finished."""
        return self.path / STATE / f"scores-step{step}.parquet"

    @property
    def kept_bytes(self) -> int:
        """The room that the last state of a finished run takes; 0 where none was kept."""
        return sum(path.stat().st_size for path in (self.path / KEPT).glob("*.pt"))

    def forget_state(self) -> None:
        """Removes what an unfinished run continues from, or what one that was killed at its very end has left."""
        shutil.rmtree(self.path / STATE, ignore_errors=True)


def damage(path: Path) -> UserError:
    """The sentence on a file of a run that is not as it was written."""
    ways = "cldf train and cldf sweep do so by themselves, notebooks with cldf run NOTEBOOK --force"
    return UserError(f"{path} is damaged, changed or missing; make it again with the command that made it: {ways}")
