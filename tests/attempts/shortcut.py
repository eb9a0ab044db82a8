"""Solutions of the exercise shortcut that are wrong in a typical way, or right in an unusual one."""


def facts(grey: str = "image.mean(2)", columns: str = "np.arange(d.shape[1]) % 8 == 7", deviation: str = "grey.std()"):
    return f"""
def facts(image):
    grey = {grey}
    d = np.abs(np.diff(grey))
    between = {columns}
    return [grey.mean(), {deviation}, d[:, between].mean() / d[:, ~between].mean()]
"""


def treated(value: str, culprit: str = "blockiness") -> str:
    return f"culprit = '{culprit}'\n\n\ndef treated(image):\n    return {value}\n"


STRICT = """
def auc(values, labels):
    values, labels = np.asarray(values), np.asarray(labels)
    return np.mean([f > r for f in values[labels == 1] for r in values[labels == 0]])
"""
ACCURACY = """
def auc(values, labels):
    values, labels = np.asarray(values), np.asarray(labels)
    return ((values > np.median(values)) == (labels == 1)).mean()
"""
# Cells that are replaced, and the points that are lost.
WRONG = {
    "one column off": ({"facts": facts(columns="np.arange(d.shape[1]) % 8 == 0")}, {"test-facts": 1}),
    "bytes": ({"facts": facts("image[:, :, 0]")}, {"test-facts": 3}),
    "another deviation": ({"facts": facts(deviation="grey.std(ddof=1)")}, {"test-facts": 1}),
    "ties count nothing": ({"auc": STRICT}, {"test-auc": 3}),
    "an accuracy": ({"auc": ACCURACY}, {"test-auc": 3}),
    "nothing is done": ({"treated": treated("image")}, {"test-treated": 2}),
    "finer than before": ({"treated": treated("saved_as_jpeg(image, 98)")}, {"test-treated": 2}),
    "grey everywhere": ({"treated": treated("np.full_like(image, 128)")}, {"test-treated": 3}),
    "the wrong culprit": ({"treated": treated("saved_as_jpeg(image, 40)", "contrast")}, {"test-treated": 1}),
}
RANKS = """
from scipy.stats import rankdata


def auc(values, labels):
    labels = np.array(labels)
    fakes, reals = labels.sum(), (1 - labels).sum()
    return (rankdata(values)[labels == 1].sum() - fakes * (fakes + 1) / 2) / (fakes * reals)
"""
RIGHT = {
    "by ranks": {"auc": RANKS, "facts": facts("image.astype(float).mean(axis=-1)")},
    "a little finer": {"treated": treated("saved_as_jpeg(image, 45)")},
    "twice": {"treated": treated("saved_as_jpeg(saved_as_jpeg(image, 40), 40)")},
}
