"""Solutions of the exercise forgetting that are wrong in a typical way, or right in an unusual one."""


def numbers(**changed: str) -> str:
    lines = {
        "average": "R[-1].mean()",
        "forgetting": "np.mean([R[i:-1, i].max() - R[-1, i] for i in range(len(R) - 1)])",
        "backward_transfer": "(R[-1] - np.diagonal(R))[:-1].mean()",
        "forward_transfer": "np.diagonal(R, offset=1).mean() - 0.5",
    }
    return "\n\n".join(f"def {name}(R):\n    return {value}" for name, value in (lines | changed).items())


PERCENT = """
def matrix(scores):
    right = (scores["score"].round() == scores["label"])
    return right.groupby([scores["step"], scores["domain"]]).mean().unstack().to_numpy()
"""
TURNED = """
def matrix(scores):
    right = (scores["score"] >= 0.5) == (scores["label"] == 1)
    return right.groupby([scores["domain"], scores["step"]]).mean().unstack().to_numpy()
"""
BY_PIVOT = """
def matrix(scores):
    scores = scores.assign(right=1 - (scores.label - (scores.score >= 0.5)).abs())
    return scores.pivot_table(index="step", columns="domain", values="right", aggfunc="mean").values
"""
BY_LOOPS = """
def matrix(scores):
    steps, domains = sorted(set(scores.step)), sorted(set(scores.domain))
    R = np.zeros((len(steps), len(domains)))
    for t in steps:
        for i in domains:
            rows = [row for row in scores.itertuples() if row.step == t and row.domain == i]
            R[t, i] = sum((row.score >= 0.5) == row.label for row in rows) / len(rows)
    return R
"""
EVERY_ROW = "np.mean([R[:-1, i].max() - R[-1, i] for i in range(len(R) - 1)])"
WITH_LAST = "np.mean([R[i:, i].max() - R[-1, i] for i in range(len(R) - 1)])"
# Cells that are replaced, and the points that are lost.
WRONG = {
    "best of all rows": ({"numbers": numbers(forgetting=EVERY_ROW)}, {"test-numbers": 1}),
    "never negative": ({"numbers": numbers(forgetting=WITH_LAST)}, {"test-numbers": 1}),
    "the last domain counts": (
        {"numbers": numbers(backward_transfer="(R[-1] - np.diagonal(R)).mean()")},
        {"test-numbers": 1},
    ),
    "without guessing": ({"numbers": numbers(forward_transfer="np.diagonal(R, 1).mean()")}, {"test-numbers": 1}),
    "0.5 is rounded down": ({"matrix": PERCENT}, {"test-matrix": 2}),
    "steps are columns": ({"matrix": TURNED}, {"test-matrix": 2}),
    "one matrix for both": (
        {"two-matrices": "hidden = gained = np.array([[0.2, 0.5, 0.5], [0.8, 0.6, 0.5], [0.2, 0.6, 0.9]])"},
        {"test-two-matrices": 1},
    ),
    "forward transfer without guessing": (
        {"values": "always_fake, other = [0, 0, 0.5], [0.675, 0.3]"},
        {"test-values": 1},
    ),
}
RIGHT = {
    "by a pivot table": {"matrix": BY_PIVOT},
    "by loops": {"matrix": BY_LOOPS},
    "by triangles": {
        "numbers": numbers(
            average="sum(R[-1]) / R.shape[1]",
            forgetting="(np.where(np.tri(len(R), dtype=bool), R, -1)[:-1].max(0) - R[-1])[:-1].mean()",
            forward_transfer="np.mean([R[i - 1, i] for i in range(1, len(R))]) - 1 / 2",
        ),
        "two-matrices": "hidden = [[0, 0, 0], [0.6, 1, 0], [0, 1, 1]]\ngained = [[0, 0, 0], [0, 0, 0], [0.2, 0.2, 0]]",
    },
}
