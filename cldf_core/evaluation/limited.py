"""How many new images are enough, from runs with fewer and fewer of them."""

import pandas as pd

from cldf_core.evaluation.seeds import means_over_seeds

SHARE = 0.9  # of what all images add
# Where none of the smaller numbers that were tried has a share of what all images add: by the mean, by the interval.
NOT_FEWER = {"reached": "with none of the smaller numbers", "shown": "not shown with any smaller number"}


def left_to_gain(runs: pd.DataFrame, *, share: float = SHARE) -> pd.DataFrame:
    """Computes how far the gain with each number of new images is above a share of the gain with the most of them.

    Args:
        runs: columns agent, seed, images (new ones a class) and value (the gain, see `metrics.continual`).
        share: of the gain with the most images, seed by seed.

    Returns:
        Columns agent, images, value (the mean over seeds; below 0 the share is not reached), low, high (95 %, over
        seeds, these photographs) and n, with the images in their order; without rows of the most images.
    """
    most = runs["images"].max()
    of_all = runs.loc[runs["images"] == most, ["agent", "seed", "value"]].rename(columns={"value": "all"})
    fewer = runs[runs["images"] < most].merge(of_all, on=["agent", "seed"])
    apart = fewer.assign(value=fewer["value"] - share * fewer["all"]).sort_values("images", kind="stable")
    return means_over_seeds(apart, ["agent", "images"])


def images_needed(left: pd.DataFrame) -> pd.DataFrame:
    """Finds the fewest new images with which, and with all larger numbers, the share is reached.

    Args:
        left: as `left_to_gain` gives it.

    Returns:
        A row for each agent, with the columns agent, reached (by the mean) and shown (by the whole interval), missing
        where no number of images is enough, n (seeds) and tried (the numbers of images, in words).
    """
    rows = []
    for agent, part in left.groupby("agent", sort=False):
        fewest = []
        for column in ("value", "low"):
            enough = (part[column] >= 0)[::-1].cummin()[::-1]  # also with all larger numbers
            fewest.append(part.loc[enough, "images"].min())
        rows.append((agent, *fewest, part["n"].max(), ", ".join(map(str, part["images"]))))
    table = pd.DataFrame(rows, columns=["agent", "reached", "shown", "n", "tried"])
    return table.astype({"reached": "Int64", "shown": "Int64"})
