"""Solutions of the exercise up_sampling that are wrong in a typical way, or right in an unusual one."""


def response(value: str, row: str = "64", left: str = "np.cos(np.pi * 48 / 128)") -> str:
    return f"""
def response_of_nearest(height, width):
    v, u = np.mgrid[:height, :width]
    return {value}


zero_row, left_at_48 = {row}, {left}
"""


def grid(pattern: str, more: str = "") -> str:
    return f"""
def with_grid(image, period, strength):
    height, width = image.shape
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(1)
    pattern = {pattern}
    {more}
    return image + strength * pattern / np.abs(pattern).max()
"""


BOTH = "(1 + np.exp(-2j * np.pi * v / height)) * (1 + np.exp(-2j * np.pi * u / width))"
ODD = """
def zeros_between(small):
    large = np.zeros(np.multiply(2, small.shape))
    large[1::2, 1::2] = small
    return large
"""
MIRRORED = """
def transform_of_large(F):
    rows = np.concatenate([F, F[::-1]])
    return np.concatenate([rows, rows[:, ::-1]], axis=1)
"""
ASKED = """
def transform_of_large(F):
    return np.fft.fft2(zeros_between(np.fft.ifft2(F).real))
"""
QUARTER = "def transform_of_large(F):\n    return np.tile(F, (2, 2)) / 4"
TILED = grid(
    "np.tile(rng.normal(size=(period, period)), (height // period, width // period))",
    "pattern = pattern - pattern.mean()",
)
EVERYWHERE = grid("np.cos(2 * np.pi * y / period) + np.cos(2 * np.pi * x / period)")
# Cells that are replaced, and the points that are lost.
WRONG = {
    "at odd places": ({"zeros": ODD}, {"test-zeros": 1}),
    "mirrored": ({"copies": MIRRORED}, {"test-copies": 2}),
    "asks a transform": ({"copies": ASKED}, {"test-copies": 2}),
    "a quarter": ({"copies": QUARTER}, {"test-copies": 2}),
    "added instead of multiplied": (
        {"response": response("2 + np.exp(-2j * np.pi * v / height) + np.exp(-2j * np.pi * u / width)")},
        {"test-response": 2},
    ),
    "shifted by a small pixel": ({"response": response(BOTH.replace("-2j", "-4j"), "32", "0.5")}, {"test-response": 3}),
    "the same everywhere": ({"grid": EVERYWHERE}, {"test-grid": 3}),
    "a tile again and again": ({"grid": TILED}, {"test-grid": 3}),
    "one direction": (
        {"grid": grid("np.cos(2 * np.pi * y / period) * rng.choice([-1, 1], width)", "pattern -= pattern.mean()")},
        {"test-grid": 3},
    ),
    "brighter": (
        {"grid": grid("(y % period == 0) * rng.uniform(size=width) + (x % period == 0) * 1.0")},
        {"test-grid": 4},
    ),
}
KRONECKER = """
def zeros_between(small):
    return np.kron(small, [[1.0, 0.0], [0.0, 0.0]])
"""
MODULO = """
def transform_of_large(F):
    height, width = F.shape
    return np.array([[F[v % height, u % width] for u in range(2 * width)] for v in range(2 * height)])
"""
TRANSFORMED = """
def response_of_nearest(height, width):
    filter = np.zeros((height, width))
    filter[:2, :2] = 1
    return np.fft.fft2(filter)


magnitude = np.abs(response_of_nearest(128, 128))
zero_row, left_at_48 = int(magnitude[:, 0].argmin()), magnitude[48, 0] / magnitude[0, 0]
"""
SQUARE = grid(
    "np.sign(np.cos(2 * np.pi * (y + 0.25) / period)) * rng.choice([-1, 1], width)"
    " + np.sign(np.cos(2 * np.pi * (x + 0.25) / period)) * rng.choice([-1, 1], (height, 1))",
    "pattern = pattern - pattern.mean()",
)
RIGHT = {
    "by a product": {"zeros": KRONECKER, "copies": MODULO},
    "the filter is transformed": {"response": TRANSFORMED},
    "square waves": {"grid": SQUARE},
}
