"""TensorBoard files of a run, written while it trains."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.evaluation.metrics import detection
from cldf_core.options import UserError
from cldf_core.runs.folder import RunFolder


class Events:
    """Losses after every epoch and accuracies after every domain, as scalars; a `runs.run.Watcher`.

    The files of a run lie in a folder of its name in `log_dir`, in place of those of an earlier call.
    """

    def __init__(self, log_dir: Path) -> None:
        self.log_dir = log_dir

    def begin(self, folder: RunFolder) -> None:
        """Starts the run's files with what it has done so far."""
        path = self.log_dir / folder.path.name
        for old in path.glob("events.out.tfevents.*"):
            old.unlink()
        self.epochs, self.writer = 0, writer_class()(str(path))
        for step in folder.manifest.get("steps", []):
            for loss in step["losses"]:
                self.epoch(np.nan if loss is None else loss)
        for scores in folder.score_tables():
            self.tested(scores)
        print(f"TensorBoard: {path}", flush=True)

    def epoch(self, loss: float) -> None:
        """Writes the mean loss of the next epoch; epochs without one do not count."""
        if not np.isnan(loss):
            self.epochs += 1
            self.writer.add_scalar("loss", loss, self.epochs)
            self.writer.flush()

    def tested(self, scores: pd.DataFrame) -> None:
        """Writes the metrics of every test set in a table of scores, step by step."""
        for (step, domain), cell in scores[scores["split"] == "test"].groupby(["step", "domain"], sort=False):
            for metric, value in detection(cell["label"].to_numpy(), cell["score"].to_numpy()).items():
                if not np.isnan(value):
                    self.writer.add_scalar(f"{metric}/{domain}", value, step)
        self.writer.flush()


def writer_class() -> Any:
    """TensorBoard's SummaryWriter, or a UserError where the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--enable_logging needs the package tensorboard: pip install tensorboard") from None
    return SummaryWriter
