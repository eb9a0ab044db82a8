"""Solutions of the exercise generator_trace that are wrong in a typical way, or right in an unusual one."""


def excess(mean: str) -> str:
    return f"""
def excess(plane):
    near = np.zeros(plane.shape)
    height, width = plane.shape
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            near += plane[(np.arange(height) + dy) % height][:, (np.arange(width) + dx) % width]
    return plane - {mean}
"""


def detector(score: str, threshold: str = "(grid_score(real_a).mean() + grid_score(fake_a).mean()) / 2") -> str:
    return f"""
def grid_score(images):
    m = planes(images)
    return {score}


threshold = {threshold}
"""


LINE = "m[:, 64].mean(1) - m[:, 63].mean(1)"
AT_EDGES = """
from scipy.ndimage import uniform_filter


def excess(plane):
    return plane - (25 * uniform_filter(plane, 5) - plane) / 24
"""
BEST = """max(
    grid_score(np.concatenate([real_a, fake_a])),
    key=lambda t: (grid_score(real_a) < t).mean() + (grid_score(fake_a) >= t).mean(),
)"""
# Cells that are replaced, and the points that are lost.
WRONG = {
    "every image counts": (
        {"mean-over-groups": "def mean_over_groups(values, groups):\n    return values.mean(0)"},
        {"test-mean-over-groups": 2},
    ),
    "the value itself counts": ({"excess": excess("near / 25")}, {"test-excess": 3}),
    "mirrored at the rim": ({"excess": AT_EDGES}, {"test-excess": 3}),
    "periods for doublings": ({"doublings": "doublings_a, doublings_b, row_b = 2, 3, 64"}, {"test-doublings": 3}),
    "brightness": ({"detector": detector("m[:, 0, 0]")}, {"test-detector": 3}),
    "the other way round": (
        {"detector": detector(LINE.replace("64]", "60]").replace("63]", "64]"))},
        {"test-detector": 3},
    ),
    "hangs on the others": ({"detector": detector(f"(s := {LINE}) - s.mean()", "0.0")}, {"test-detector": 3}),
}
CORNER = "m[:, 64, 4:].mean(1) - m[:, 62:64, 4:].mean((1, 2)) + m[:, 4:-4, 64].mean(1) - m[:, 4:-4, 63].mean(1)"
RIGHT = {
    "one line, and the best threshold": {"detector": detector(LINE, BEST)},
    "by indices": {"excess": excess("(near - plane) / 24"), "doublings": "doublings_a, doublings_b, row_b = 1, 2, 96"},
    "by pandas": {
        "mean-over-groups": """
import pandas as pd


def mean_over_groups(values, groups):
    flat = pd.DataFrame(values.reshape(len(values), -1)).groupby(groups).mean().mean()
    return flat.to_numpy().reshape(values.shape[1:])
""",
        "detector": detector(CORNER),
    },
}
