"""May an updated detector take the place of the one before it? What it has lost on domains that it knew decides.

The decision is made on validation photographs. What the test photographs say of it is a report, and no part of it.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from cldf_core.evaluation.bootstrap import ENDS, FEWEST, ROUNDING, Estimate, matrices
from cldf_core.evaluation.proportions import with_exact_ends
from cldf_core.options import UserError

MAX_LOSS = 0.05  # of the mean accuracy over old domains
SINGLE = 2  # times as much is the most that a single old domain may lose, by its estimate
TAIL = 0.05  # of the mean loss, above its upper end


@dataclass(frozen=True)
class Gate:
    """The decision, and what it was made by.

    Attributes:
        accepted: whether the mean loss is below `max_loss` by its upper end, and no domain has lost more than twice
            that.
        loss: mean over the old domains of the accuracy before minus that after.
        upper: the end of its one-sided 95 % interval, over groups of validation images.
        losses: of each old domain.
        max_loss: the bound.
    """

    accepted: bool
    loss: float
    upper: float
    losses: dict[str, float]
    max_loss: float

    def in_words(self) -> str:
        """A sentence that says what was decided, and by which numbers."""
        mean = f"the mean loss on old domains is {self.loss:+.4f}, by its upper end {self.upper:+.4f}"
        worst = max(self.losses, key=lambda name: self.losses[name])
        single = f"the largest, on {worst}, is {self.losses[worst]:+.4f}"
        allowed = f"below {self.max_loss:g}, and for a single domain at most {min(SINGLE * self.max_loss, 1):g}"
        return f"{'accepted' if self.accepted else 'refused'}: {mean}, {single}; allowed: {allowed}"


def gate(scores: pd.DataFrame, old: Sequence[str], *, max_loss: float = MAX_LOSS, resamples: int = 1000) -> Gate:
    """Decides by the scores of two steps, before and after an update, on the validation images of old domains.

    The accuracy is that of verdicts at P(fake) = 0.5. Losses are paired: each resample draws the same photographs for
    both steps and for all domains. Where no resample differs from the loss, as where no verdict has changed, its upper
    end is the loss itself.

    Args:
        scores: columns step (two of them), domain, split, image, group, label and score.
        old: the domains that were learned before the update.

    Raises:
        UserError: there is no old domain, or one has too few groups of validation images after one of the steps.
    """
    chosen = scores[(scores["split"] == "validation") & scores["domain"].isin(old)]
    for step in _two_steps(scores):
        check_decidable(chosen[chosen["step"] == step], old)
    measured = matrices(chosen, ["accuracy"], split="validation", resamples=resamples, domains=old)
    mean = measured.statistic("accuracy", lambda R, *_: (R[:, 0] - R[:, 1]).mean(1), (-1.0, 1.0))
    # Domains without a photograph in common are each as uncertain as their own few photographs make them.
    mean = replace(mean, groups=int(chosen.groupby("domain")["group"].nunique().min()))
    loss, upper = float(mean.value), float(mean.interval(TAIL)[1])
    upper = loss if np.isnan(upper) else upper
    before, after = measured.metrics["accuracy"].value
    each = dict(zip(measured.domains, map(float, before - after), strict=True))
    return Gate(bool(_passes(upper, max(each.values()), max_loss)), loss, upper, each, max_loss)


def check_decidable(images: pd.DataFrame, old: Sequence[str]) -> None:
    """Raises a UserError where `gate` could not decide, by the validation images: columns domain and group."""
    if not old:
        raise UserError("there is no domain that could be forgotten; needed: at least one that was learned before")
    for name in old:
        groups = images.loc[images["domain"] == name, "group"].nunique()
        if groups < FEWEST:
            raise UserError(
                f"{name} has validation images of {groups} groups, and they decide whether it was forgotten; "
                f"needed: {FEWEST} groups, and splits with validation in them"
            )


def changes(scores: pd.DataFrame, *, metrics: Sequence[str] = ("accuracy", "AUC"), split: str = "test") -> pd.DataFrame:
    """Computes by how much an update has changed each metric on each domain: the same images, the same resamples.

    The scores are as for `gate`. The result has domain, metric, before, after, value (after minus before), low and high
    (95 %; NaN where there is no interval).
    """
    _two_steps(scores)
    measured = matrices(scores, list(metrics), split=split)
    tables = []
    for metric in metrics:
        before, after = (_of_step(measured.metrics[metric], step) for step in (0, 1))
        apart = after - before
        columns = {"domain": measured.domains, "metric": metric, "before": before.value, "after": after.value}
        tables.append(pd.DataFrame(columns | dict(zip(ENDS, (apart.value, *apart.interval()), strict=True))))
    return pd.concat(tables, ignore_index=True)


def _two_steps(scores: pd.DataFrame) -> list[int]:
    steps = sorted(scores["step"].unique())
    if len(steps) != 2:
        raise UserError(f"there are scores of {len(steps)} steps; needed: two, before and after")
    return steps


def _of_step(cells: Estimate, step: int) -> Estimate:
    """The row of a matrix; its images are not checked again, since they are of one table."""
    groups = np.broadcast_to(cells.groups, cells.value.shape)[step]
    parts = {"value": cells.value[step], "draws": cells.draws[:, step], "left_out": cells.left_out[:, step]}
    return replace(cells, **parts, groups=groups, images=None, tested=None)


def accepted(decisions: pd.DataFrame, bounds: Iterable[float]) -> pd.DataFrame:
    """Computes how often agents' updates are accepted with other bounds, and how often wrongly.

    Args:
        decisions: columns agent, loss and upper as in `Gate`, worst (the largest loss of a domain), and lost: what was
            truly lost, on photographs that the gate has not seen. A row for each update.
        bounds: values of `max_loss`.

    Returns:
        Columns agent, bound, metric ("accepted"; "accepted wrongly", where more was lost than the bound; "refused
        wrongly", where no more was lost; "lost too much", where more was), value (a share of all updates), n, low and
        high (95 %).

    Source: Clopper & Pearson, Biometrika 1934.
    """
    rows = []
    for (agent, own), bound in itertools.product(decisions.groupby("agent", sort=False), bounds):
        passed, too_much = _passes(own["upper"], own["worst"], bound), own["lost"] > bound
        shares = {"accepted": passed, "accepted wrongly": passed & too_much}
        shares |= {"refused wrongly": ~passed & ~too_much, "lost too much": too_much}
        for metric, counts in shares.items():
            rows.append((agent, float(bound), metric, float(counts.mean()), len(own)))
    return with_exact_ends(pd.DataFrame(rows, columns=["agent", "bound", "metric", "value", "n"]))


def _passes(upper: Any, worst: Any, bound: float) -> Any:
    return (upper < bound - ROUNDING) & (worst <= SINGLE * bound + ROUNDING)
