"""Chooses one of several trials by their averages over a few seeds, and says what the seeds cannot tell apart."""

import pandas as pd
from scipy import stats

FINALISTS = 3  # trials that are made with more seeds
ROUNDING = 1e-9  # a spread that is smaller is none


def finalists(trials: pd.DataFrame) -> list[int]:
    """The trials with the best averages; of equal ones the earlier."""
    best = trials.sort_values(["average", "trial"], ascending=[False, True])
    return best["trial"].head(FINALISTS).tolist()


def judged(trials: pd.DataFrame, *, best: bool = False) -> pd.DataFrame:
    """The table of an agent's trials, the best average first, with the columns chosen and tied.

    Those with the most seeds are judged. Of all that are within one standard error of the best average the one with the
    fewest image passes is chosen, and of those with as many the best (the one-standard-error rule: Breiman et al. 1984,
    section 3.4.3). The error is pooled over the judged trials, since the few seeds of one may agree by accident. The
    defaults, trial 1, have no advantage. With `best` the best average is chosen in any case. Tied are the trials, of
    all, that the seeds cannot tell from the best at 95 %, the best itself included.
    """
    trials = trials.sort_values(["average", "trial"], ascending=[False, True], ignore_index=True)
    final = trials[trials["seeds"] == (n := trials["seeds"].max())]
    spread = float(final["spread"].pow(2).mean() ** 0.5)
    behind = final["average"].max() - trials["average"]
    near = final[behind[final.index] <= spread / n**0.5 + ROUNDING]
    cheap = near.sort_values(["images", "average"], ascending=[True, False])
    order = [*final.index[:best], *cheap.index]
    margin = stats.t.ppf(0.975, len(final) * (n - 1)) * spread * (1 / n + 1 / trials["seeds"]) ** 0.5
    return trials.assign(chosen=trials.index == order[0], tied=(behind <= margin) | (spread < ROUNDING))


def verdict(trials: pd.DataFrame) -> str:
    """What a table of trials with a choice says, in a sentence: what is taken, and whether there is a tie."""
    row, tied = trials[trials["chosen"]].iloc[0], trials[trials["tied"]]
    taken = f"taken is trial {row['trial']}{', the defaults' if row['trial'] == 1 else ''} ({row['values']})"
    if len(tied) == 1:
        return f"the best average can be told from all others; {taken}"
    span = f"averages from {tied['average'].min():.3f} to {tied['average'].max():.3f}"
    return f"a tie, the seeds cannot tell {len(tied)} of {len(trials)} apart ({span}); {taken}"
