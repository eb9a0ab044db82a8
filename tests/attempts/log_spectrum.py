"""Solutions of the exercise log_spectrum that are wrong in a typical way, or right in an unusual one."""

LOG_10 = """
def log_magnitude(image):
    return np.log10(np.abs(np.fft.fft2(image / 255)) + 1e-3)
"""
BYTES = """
def log_magnitude(image):
    return np.log(np.abs(np.fft.fft2(image)) + 1e-3)
"""
NO_OFFSET = """
def log_magnitude(image):
    return np.log(np.abs(np.fft.fft2(image / 255)))
"""
BY_MEAN = """
def scaled(plane):
    if np.ptp(plane) < 1e-3:
        return np.zeros_like(plane)
    return np.clip((plane - plane.mean()) / plane.std(), -1, 1)
"""
DIVIDES_BY_NOTHING = """
def scaled(plane):
    p5, p95 = np.percentile(plane, [5, 95])
    return np.clip(2 * (plane - p5) / (p95 - p5) - 1, -1, 1)
"""
WHOLE_RANGE = """
def scaled(plane):
    if np.ptp(plane) < 1e-3:
        return np.zeros_like(plane)
    p5, p95 = np.percentile(plane, [5, 95])
    return np.clip(2 * (plane - p5) / (p95 - p5) - 1, -1, 1)
"""
NOT_CUT = """
def scaled(plane):
    p5, p95 = np.percentile(plane, [5, 95])
    if p95 - p5 < 1e-3:
        return np.zeros_like(plane)
    return 2 * (plane - p5) / (p95 - p5) - 1
"""
ROWS_STAY = """
def half(plane):
    return plane[:, : plane.shape[1] // 2 + 1]


def mirrored(columns):
    return np.concatenate([columns, columns[:, -2:0:-1]], axis=1)
"""
OWN_PLACES = "partner_of_3_5, partner_of_0_2, partner_of_4_6 = (3, 5), (0, 2), (4, 6)"
PERCENTILES_OF_HALF = """
def network_input(image):
    return np.stack([scaled(half(log_magnitude(image[:, :, channel]))) for channel in range(3)])
"""
# Cells that are replaced, and the points that are lost.
WRONG = {
    "base 10": ({"log-magnitude": LOG_10}, {"test-log-magnitude": 2}),
    "bytes are not scaled": ({"log-magnitude": BYTES}, {"test-log-magnitude": 2, "test-network-input": 2}),
    "log of 0": ({"log-magnitude": NO_OFFSET}, {"test-log-magnitude": 2, "test-network-input": 2}),
    "mean and deviation": ({"scaled": BY_MEAN}, {"test-scaled": 3, "test-network-input": 2}),
    "0 / 0": ({"scaled": DIVIDES_BY_NOTHING}, {"test-scaled": 1, "test-network-input": 2}),
    "not cut off": ({"scaled": NOT_CUT}, {"test-scaled": 2, "test-network-input": 2}),
    "asks for the whole range": ({"scaled": WHOLE_RANGE}, {"test-scaled": 1}),
    "rows not turned": ({"half": ROWS_STAY}, {"test-half": 2}),
    "percentiles of the half": ({"network-input": PERCENTILES_OF_HALF}, {"test-network-input": 2}),
    "own places": ({"partners": OWN_PLACES}, {"test-partners": 1}),
}
MATRICES = """
def log_magnitude(image):
    left, right = (np.exp(-2j * np.pi * np.outer(range(n), range(n)) / n) for n in image.shape)
    return np.log(np.abs(left @ (image / 255) @ right) + 1e-3)
"""
TORCH = """
import torch


def log_magnitude(image):
    return torch.log(torch.fft.fft2(torch.from_numpy(image) / 255.0).abs() + 1e-3).numpy()
"""
ROLLED = """
def half(plane):
    return np.delete(plane, range(plane.shape[1] // 2 + 1, plane.shape[1]), axis=1)


def mirrored(columns):
    turned = np.roll(columns[::-1, ::-1], 1, axis=0)
    return np.hstack([columns, turned[:, 1:-1]])
"""
LOOPS = """
def half(plane):
    return plane[:, 0 : 1 + plane.shape[1] // 2].copy()


def mirrored(columns):
    height, width = columns.shape[0], 2 * columns.shape[1] - 2
    plane = np.zeros((height, width))
    for v in range(height):
        for u in range(width):
            plane[v, u] = columns[v, u] if u < columns.shape[1] else columns[(height - v) % height, width - u]
    return plane
"""
INTERPOLATED = """
import warnings


def scaled(plane):
    warnings.warn("a warning is no mistake")
    p5, p95 = np.quantile(plane, 0.05), np.quantile(plane, 0.95)
    return np.interp(plane, [p5, p95], [-1, 1]) if p95 - p5 >= 1e-3 else 0 * plane
"""
AROUND_THE_MIDDLE = """
def scaled(plane):
    p5, p95 = np.percentile(plane, [5, 95])
    if p95 - p5 < 1e-3:
        return np.zeros_like(plane)
    return (np.clip(plane, p5, p95) - (p5 + p95) / 2) / ((p95 - p5) / 2)
"""
RIGHT = {
    "by matrices": {"log-magnitude": MATRICES},
    "by torch": {"log-magnitude": TORCH},
    "rolled": {"half": ROLLED, "partners": "partner_of_3_5, partner_of_0_2, partner_of_4_6 = [5, 7], [0, 10], [4, 6]"},
    "by loops": {"half": LOOPS},
    "interpolated": {"scaled": INTERPOLATED},
    "cut off first, then scaled": {"scaled": AROUND_THE_MIDDLE},
}
