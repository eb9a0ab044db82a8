"""How many new images are enough, from runs with fewer and fewer of them."""

import pandas as pd

SHARE = 0.9  # of what all images add
# Where none of the smaller numbers that were tried has a share of what all images add: by the mean, by the interval.
NOT_FEWER = {"reached": "with none of the smaller numbers", "shown": "not shown with any smaller number"}


def images_needed(left: pd.DataFrame) -> pd.DataFrame:
    """Finds the fewest new images with which, and with all larger numbers, the share is reached.

    Args:
        left: how far the gain with so many images is above the share of that with all: columns agent, images, value,
            low (of its interval) and n (seeds); an agent's rows in the order of their images.

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
