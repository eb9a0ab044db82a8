"""Solutions of the exercise honest_comparison that are wrong in a typical way, or right in an unusual one."""


def interval(quantile: str = "stats.t.ppf(0.975, n - 1)", ddof: int = 1) -> str:
    return f"""
def t_interval(values):
    m, s, n = np.mean(values), np.std(values, ddof={ddof}), len(values)
    return m, m - {quantile} * s / n**0.5, m + {quantile} * s / n**0.5
"""


def paired(difference: str, p: str = "stats.ttest_1samp(difference, 0).pvalue") -> str:
    return f"""
def paired(first, second):
    difference = {difference}
    return (*t_interval(difference), {p})
"""


def bootstrap(value: str, width: str = "np.quantile(accuracies, 0.975) - np.quantile(accuracies, 0.025)") -> str:
    return f"""
def group_bootstrap(right, groups, draws, rng):
    frame = pd.DataFrame({{"right": right, "group": groups}})
    table = frame.groupby("group")["right"].agg(["sum", "size"]).to_numpy()
    G = len(table)
    return np.array([{value} for _ in range(draws)])


def width(accuracies):
    return {width}
"""


BY_SEED = "first.set_index('seed').accuracy - second.set_index('seed').accuracy"
DRAW = "(drawn := table[rng.integers(G, size=G)])[:, 0].sum() / drawn[:, 1].sum()"
HOLM = "def holm(p):\n    p = np.array(p, float)\n    order = p.argsort()\n    m = len(p)\n    {}\n"
NUMBERS = """
def group_bootstrap(right, groups, draws, rng):
    G = groups.max() + 1
    images, correct = np.bincount(groups), np.bincount(groups, weights=right)
    drawn = rng.integers(G, size=(draws, G))
    return correct[drawn].sum(1) / images[drawn].sum(1)


def width(accuracies):
    return np.subtract(*np.percentile(accuracies, [97.5, 2.5]))
"""
# Cells that are replaced, and the points that are lost.
WRONG = {
    "divides by n": ({"interval": interval(ddof=0)}, {"test-interval": 2, "test-paired": 3}),
    "always 1.96": ({"interval": interval("1.96")}, {"test-interval": 2, "test-paired": 3}),
    "row by row": ({"paired": paired("first['accuracy'] - second['accuracy']")}, {"test-paired": 3}),
    "torn apart": (
        {"paired": paired(BY_SEED, "stats.ttest_ind(first['accuracy'], second['accuracy']).pvalue")},
        {"test-paired": 3},
    ),
    "one side": ({"paired": paired(BY_SEED, "stats.ttest_1samp(difference, 0).pvalue / 2")}, {"test-paired": 3}),
    "images are drawn": ({"bootstrap": bootstrap("rng.choice(right, len(right)).mean()")}, {"test-bootstrap": 2}),
    "a mean of means": (
        {"bootstrap": bootstrap("(drawn := table[rng.integers(G, size=G)])[:, 0].__truediv__(drawn[:, 1]).mean()")},
        {"test-bootstrap": 3},
    ),
    "without replacement": (
        {"bootstrap": bootstrap("(drawn := table[rng.permutation(G)])[:, 0].sum() / drawn[:, 1].sum()")},
        {"test-bootstrap": 2},
    ),
    "only numbers for photographs": ({"bootstrap": NUMBERS}, {"test-bootstrap": 1}),
    "no width yet": (
        {"bootstrap": bootstrap(DRAW).split("\n\n\n")[0] + "\n\n\ndef width(*_):\n    raise NotImplementedError()"},
        {"test-bootstrap": 1},
    ),
    "half the width": ({"bootstrap": bootstrap(DRAW, "2 * np.std(accuracies)")}, {"test-bootstrap": 1}),
    "Bonferroni": ({"holm": HOLM.format("return np.minimum(p * m, 1)")}, {"test-holm": 2}),
    "order is lost": (
        {"holm": HOLM.format("return np.minimum(np.maximum.accumulate(p[order] * np.arange(m, 0, -1)), 1)")},
        {"test-holm": 2},
    ),
    "may fall": ({"holm": HOLM.format("p[order] *= np.arange(m, 0, -1)\n    return p.clip(max=1)")}, {"test-holm": 2}),
}
RANKS = """
def holm(p):
    p = list(p)
    ranks = {place: rank for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i]))}
    return [min(1, max(p[j] * (len(p) - ranks[j]) for j in ranks if ranks[j] <= ranks[i])) for i in range(len(p))]
"""
WEIGHTS = """
def group_bootstrap(right, groups, draws, rng):
    names = np.unique(groups)
    membership = np.asarray(groups)[:, None] == names
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return (weights @ (membership.T @ np.asarray(right))) / (weights @ membership.sum(0))


def width(accuracies):
    return np.diff(np.percentile(accuracies, (2.5, 97.5))).item()
"""
SCIPY = """
def t_interval(values):
    result = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return [np.mean(values), result.low, result.high]
"""
MERGED = """
def paired(first, second):
    both = pd.merge(first, second, on="seed", suffixes=("_1", "_2"))
    test = stats.ttest_rel(both.accuracy_1, both.accuracy_2)
    low, high = test.confidence_interval()
    return np.array([(both.accuracy_1 - both.accuracy_2).mean(), low, high, test.pvalue])
"""
RIGHT = {
    "by scipy": {"interval": SCIPY, "paired": MERGED},
    "by weights": {"bootstrap": WEIGHTS},
    "by loops": {"bootstrap": bootstrap(DRAW), "holm": RANKS},
}
