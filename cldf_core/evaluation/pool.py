"""Real images that domains without any of their own share.

The fakes of fifty generators often come with one set of photographs. In a table of scores this set is a domain of its
own, or several, and a generator's domain holds fakes only, of which there is no AUC. Where a table has the column pool,
`bootstrap.matrices` measures each such domain against the pooled real images. A resample draws them once for all
domains, so that their differences are paired, and a pooled photograph together with the fakes that are of its group.
"""

from collections.abc import Collection

import pandas as pd


def with_pool(scores: pd.DataFrame) -> pd.DataFrame:
    """Adds the column pool: which images are the real ones that domains of fakes only are measured against.

    In each step and split these are all images of the domains that hold reals only and, where there is no such domain,
    the reals of all others. A domain of both classes keeps its own reals and takes no more. An image that several
    domains hold counts as often as it is there.
    """
    place = [scores["step"], scores["split"]]
    alone = scores["label"].groupby([*place, scores["domain"]]).transform("max") == 0
    return scores.assign(pool=(scores["label"] == 0) & (alone | ~alone.groupby(place).transform("any")))


def of_domains(scores: pd.DataFrame, domains: Collection[str]) -> pd.DataFrame:
    """Returns the rows of some domains, of one step and split; with the pool where one of these holds fakes only."""
    chosen = scores["domain"].isin(domains)
    if "pool" in scores and scores[chosen].groupby("domain")["label"].min().any():
        chosen |= scores["pool"]
    return scores[chosen]
