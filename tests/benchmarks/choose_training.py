"""Chooses learning rate and epochs of the quick profile: `make choose`.

Sequential fine-tuning is trained with every combination and scored on the validation photographs only.
The default, for all agents alike, is the cheapest combination whose average accuracy after the last
domain is within one standard error of the best (the one-standard-error rule: Breiman et al. 1984,
section 3.4.3). Writes figures/tables/choice_of_training.csv.
"""

import itertools

import pandas as pd

from cldf_core.data.files import save_table
from cldf_core.data.runtime import project_root
from cldf_core.evaluation.metrics import continual, matrix
from cldf_core.evaluation.seeds import t_interval
from cldf_core.options import checked
from cldf_core.runs.run import make_run

LRS, EPOCHS, SEEDS = (1e-3, 2e-3, 4e-3), (6, 10), (0, 1)


def measured(lr: float, epochs: int) -> dict[str, float]:
    """Mean over seeds of the metrics on validation photographs, with the t interval of the average."""
    metrics = []
    for seed in SEEDS:
        options = checked(
            {"agent": "sequential", "lr": lr, "epochs": epochs, "seed": 100 + seed, "splits": ["validation"]}
        )
        R = matrix(make_run(options).scores(), split="validation")[options.stream].to_numpy()
        metrics.append({name: float(value) for name, value in continual(R).items()})
    table = pd.DataFrame(metrics)
    average, low, high = t_interval(table["average"].to_numpy())
    error = table["average"].std() / len(SEEDS) ** 0.5
    others = table[["learning", "forgetting (max-last)"]].mean().to_dict()
    return {
        "lr": lr,
        "epochs": epochs,
        "seeds": len(SEEDS),
        "average": average,
        "low": low,
        "high": high,
        "error": error,
        **others,
    }


if __name__ == "__main__":
    choice = pd.DataFrame([measured(lr, epochs) for lr, epochs in itertools.product(LRS, EPOCHS)])
    choice = choice.sort_values("average", ascending=False)
    best = choice.iloc[0]
    near = choice[choice["average"] >= best["average"] - best["error"]]
    choice["chosen"] = choice.index == near.sort_values(["epochs", "average"], ascending=[True, False]).index[0]
    save_table(choice, project_root() / "figures", "choice_of_training")
    print(choice.round(3).to_string(index=False))
