"""`cldf choose`: learning rate and epochs of the quick profile, chosen on validation photographs.

Sequential fine-tuning is trained with every combination and scored on the validation photographs alone. The default,
for all agents alike, is the cheapest combination whose average accuracy after the last domain is within one standard
error of the best (the one-standard-error rule: Breiman et al. 1984, section 3.4.3). The error is pooled over all
combinations, since the few seeds of one may agree by accident. What the seeds cannot tell from the best is a tie, and
the table and the command say so.
"""

import itertools

import pandas as pd
from scipy import stats

from cldf_core.data.files import save_table
from cldf_core.data.runtime import project_root
from cldf_core.evaluation.metrics import continual, matrix
from cldf_core.evaluation.seeds import t_interval
from cldf_core.options import Options, checked
from cldf_core.results.inventory import keep_runs
from cldf_core.runs.holder import uses
from cldf_core.runs.run import make_run
from cldf_core.workflow.cluster import HERE, Place
from cldf_core.workflow.engine import make_all

LRS, EPOCHS, SEEDS = (1e-3, 2e-3, 4e-3), (6, 10), (100, 101, 102, 103, 104)
ROUNDING = 1e-9  # a standard error that is smaller is none


def choose(place: Place = HERE) -> pd.DataFrame:
    """Measures all combinations, the best first, and writes figures/tables/choice_of_training.csv."""
    settings = itertools.product(LRS, EPOCHS, SEEDS)
    make_all(
        {f"lr {lr:g}, epochs {epochs}, seed {seed}": _options(lr, epochs, seed) for lr, epochs, seed in settings}, place
    )
    with uses(project_root() / "runs") as runs:
        table = with_choice(pd.DataFrame([_measured(lr, epochs) for lr, epochs in itertools.product(LRS, EPOCHS)]))
    save_table(table, project_root() / "figures", "choice_of_training")
    keep_runs("choice_of_training", runs)
    return table


def with_choice(table: pd.DataFrame) -> pd.DataFrame:
    """The table sorted by average, with the columns chosen and tied.

    Chosen is the row that the one-standard-error rule takes, tied are those that the seeds cannot tell from the best at
    95 %, the best itself included; all of them where no combination varies with the seed, so that there is no error.
    It needs the columns epochs, average and error (the standard error of the average).
    """
    table = table.sort_values("average", ascending=False)
    error = float(table["error"].pow(2).mean() ** 0.5)
    behind = table["average"].max() - table["average"]
    cheapest = table[behind <= error].sort_values(["epochs", "average"], ascending=[True, False]).index[0]
    margin = stats.t.ppf(0.975, len(table) * (len(SEEDS) - 1)) * 2**0.5 * error
    return table.assign(chosen=table.index == cheapest, tied=(behind <= margin) | (error < ROUNDING))


def verdict(table: pd.DataFrame) -> str:
    """What a table with a choice says, in a sentence: which combination is taken, and whether there is a tie."""
    row, tied = table[table["chosen"]].iloc[0], table[table["tied"]]
    taken = f"taken is lr {row['lr']:g} with {row['epochs']:.0f} epochs"
    if len(tied) == 1:
        return f"The best average can be told from all others; {taken}."
    if table["error"].max() < ROUNDING:
        return f"A tie: nothing varies with the seed, so the seeds cannot tell the averages apart; {taken}."
    span = f"averages from {tied['average'].min():.3f} to {tied['average'].max():.3f}"
    why = "the cheapest within one standard error of the best"
    return f"A tie: {len(SEEDS)} seeds cannot tell {len(tied)} of {len(table)} apart ({span}); {taken}, {why}."


def _options(lr: float, epochs: int, seed: int) -> Options:
    return checked({"agent": "sequential", "lr": lr, "epochs": epochs, "seed": seed, "splits": ["validation"]})


def _measured(lr: float, epochs: int) -> dict[str, float]:
    """Means over seeds of the metrics on validation photographs, with the t interval of the average."""
    metrics = []
    for seed in SEEDS:
        options = _options(lr, epochs, seed)
        R = matrix(make_run(options).scores(), split="validation")[options.stream].to_numpy()
        metrics.append({name: float(value) for name, value in continual(R).items()})
    table = pd.DataFrame(metrics)
    average, low, high = t_interval(table["average"].to_numpy())
    setting = {"lr": lr, "epochs": epochs, "seeds": len(SEEDS)}
    error = table["average"].std() / len(SEEDS) ** 0.5
    others = table[["learning", "forgetting (max-last)"]].mean().to_dict()
    return {**setting, "average": average, "low": low, "high": high, "error": error, **others}
