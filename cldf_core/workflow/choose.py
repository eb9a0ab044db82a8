"""`cldf choose`: learning rate and epochs of the quick profile, chosen on validation photographs.

Sequential fine-tuning is trained with every combination and scored on the validation photographs alone. The default,
for all agents alike, is the cheapest combination whose average accuracy after the last domain is within one standard
error of the best (the one-standard-error rule: Breiman et al. 1984, section 3.4.3).
"""

import itertools

import pandas as pd

from cldf_core.data.files import save_table
from cldf_core.data.runtime import project_root
from cldf_core.evaluation.metrics import continual, matrix
from cldf_core.evaluation.seeds import t_interval
from cldf_core.options import checked
from cldf_core.runs.run import make_run

LRS, EPOCHS, SEEDS = (1e-3, 2e-3, 4e-3), (6, 10), (100, 101)


def choose() -> pd.DataFrame:
    """Measures all combinations, the best first, and writes figures/tables/choice_of_training.csv."""
    table = with_choice(pd.DataFrame([_measured(lr, epochs) for lr, epochs in itertools.product(LRS, EPOCHS)]))
    save_table(table, project_root() / "figures", "choice_of_training")
    return table


def with_choice(table: pd.DataFrame) -> pd.DataFrame:
    """The table sorted by average, with a column chosen: True in the row that the one-standard-error rule takes.

    It needs the columns epochs, average and error (the standard error of the average).
    """
    table = table.sort_values("average", ascending=False)
    best = table.iloc[0]
    near = table[table["average"] >= best["average"] - best["error"]]
    cheapest = near.sort_values(["epochs", "average"], ascending=[True, False]).index[0]
    return table.assign(chosen=table.index == cheapest)


def _measured(lr: float, epochs: int) -> dict[str, float]:
    """Means over seeds of the metrics on validation photographs, with the t interval of the average."""
    metrics = []
    for seed in SEEDS:
        options = checked({"agent": "sequential", "lr": lr, "epochs": epochs, "seed": seed, "splits": ["validation"]})
        R = matrix(make_run(options).scores(), split="validation")[options.stream].to_numpy()
        metrics.append({name: float(value) for name, value in continual(R).items()})
    table = pd.DataFrame(metrics)
    average, low, high = t_interval(table["average"].to_numpy())
    setting = {"lr": lr, "epochs": epochs, "seeds": len(SEEDS)}
    error = table["average"].std() / len(SEEDS) ** 0.5
    others = table[["learning", "forgetting (max-last)"]].mean().to_dict()
    return {**setting, "average": average, "low": low, "high": high, "error": error, **others}
