"""Solutions of the exercise reservoir that are wrong in a typical way, or right in an unusual one."""


def probabilities(enters: str, survives: str, stays: str) -> str:
    lines = {"enters(k, t)": enters, "survives(k, t)": survives, "stays(k, t, n)": stays}
    return "\n".join(f"def {head}:\n    return {value}" for head, value in lines.items())


def reservoir(full: str) -> str:
    """A class whose `offer` does this when the memory is full."""
    return f"""
class Reservoir:
    def __init__(self, capacity, rng):
        self.capacity, self.rng, self.items, self.seen = capacity, rng, [], 0

    def offer(self, item):
        self.seen += 1
        if len(self.items) < self.capacity:
            self.items.append(item)
            return
        {full}
"""


def p_value(value: str) -> str:
    return f"""
def p_value(counts, runs):
    n, k = len(counts), counts.sum() / runs
    differences = (counts - runs * k / n) ** 2
    return {value}
"""


DOMAINS = "expected_at_the_end, expected_of_first_after_second, different_with_ten_epochs = {}"
STORES = "slot = self.rng.integers({})\n        if slot < self.capacity:\n            self.items[slot] = item"
ALWAYS = "self.items[self.rng.integers(self.capacity)] = item"
OLDEST = """if self.rng.random() < self.capacity / self.seen:
            self.items = self.items[1:] + [item]"""
GLOBAL = """slot = np.random.default_rng().integers(self.seen)
        if slot < self.capacity:
            self.items[slot] = item"""
SHUFFLED = """
class Reservoir:
    def __init__(self, capacity, rng):
        self.capacity, self.rng, self.items, self.all = capacity, rng, [], []

    def offer(self, item):
        self.all.append(item)
        self.items = [self.all[i] for i in self.rng.permutation(len(self.all))[: self.capacity]]
"""
LOOP = "np.prod([enters(k, t), *(survives(k, s) for s in range(t + 1, n + 1))])"
AGAIN = "1 if n <= k else (1 - 1 / n) * stays(k, t, n - 1) if n > max(k, t) else k / n"
ONE_OF_THREE = """
def enters(k, t):
    return min(1, k / t)


def survives(k, t):
    raise NotImplementedError()


stays = survives
"""
# Cells that are replaced, and the points that are lost.
WRONG = {
    "enters one too early": (
        {"probabilities": probabilities("min(1, k / (t + 1))", "1 - 1 / t if t > k else 1", "min(1, k / n)")},
        {"test-probabilities": 1},
    ),
    "survives without room": (
        {"probabilities": probabilities("min(1, k / t)", "1 - 1 / t", "k / n")},
        {"test-probabilities": 2},
    ),
    "a loop": (
        {"probabilities": probabilities("min(1, k / t)", "1 - 1 / t if t > k else 1", LOOP)},
        {"test-probabilities": 1},
    ),
    "an array of all terms": (
        {
            "probabilities": probabilities(
                "min(1, k / t)",
                "1 - 1 / t if t > k else 1",
                "enters(k, t) * np.prod(1 - 1 / np.arange(max(t, k) + 1, n + 1))",
            )
        },
        {"test-probabilities": 1},
    ),
    "one of three is left": ({"probabilities": ONE_OF_THREE}, {"test-probabilities": 2}),
    "again and again": (
        {"probabilities": probabilities("min(1, k / t)", "1 - 1 / t if t > k else 1", AGAIN)},
        {"test-probabilities": 1},
    ),
    "counts after the draw": ({"reservoir": reservoir(STORES.format("self.seen - 1"))}, {"test-reservoir": 3}),
    "always stores": ({"reservoir": reservoir(ALWAYS)}, {"test-reservoir": 3}),
    "the oldest goes": ({"reservoir": reservoir(OLDEST)}, {"test-reservoir": 3}),
    "keeps everything": ({"reservoir": SHUFFLED}, {"test-reservoir": 3}),
    "another generator": ({"reservoir": reservoir(GLOBAL)}, {"test-reservoir": 3}),
    "counts taken for independent": (
        {"fairness": p_value("stats.chi2.sf(differences.sum() * n / (runs * k), n - 1)")},
        {"test-fairness": 2},
    ),
    "binomials with a degree too many": (
        {"fairness": p_value("stats.chi2.sf(differences.sum() / (runs * k / n * (1 - k / n)), n)")},
        {"test-fairness": 2},
    ),
    "the other tail": (
        {"fairness": p_value("stats.chi2.cdf((n - 1) * differences.sum() / (runs * k * (1 - k / n)), n - 1)")},
        {"test-fairness": 2},
    ),
    "equal shares": ({"domains": DOMAINS.format("[50 / 3] * 3, 25, 'fewer'")}, {"test-domains": 1.5}),
    "one answer is left": ({"domains": DOMAINS.format("[30, 10, 10], None, 'fewer'")}, {"test-domains": 0.5}),
    "no image counts twice": ({"domains": DOMAINS.format("[30, 10, 10], 37.5, 'as many'")}, {"test-domains": 0.5}),
}
KEYS = """
import heapq


class Reservoir:
    def __init__(self, capacity, rng):
        self.capacity, self.rng, self.heap = capacity, rng, []

    @property
    def items(self):
        return [item for _, item in self.heap]

    def offer(self, item):
        entry = (self.rng.random(), item)
        (heapq.heappush if len(self.heap) < self.capacity else heapq.heappushpop)(self.heap, entry)
"""
COIN = """if self.rng.random() < self.capacity / self.seen:
            self.items.pop(self.rng.integers(self.capacity))
            self.items.append(item)"""
FRACTION = """slot = int(self.rng.random() * self.seen)
        if slot < len(self.items):
            self.items[slot] = item"""
RIGHT = {
    "the largest of random keys": {"reservoir": KEYS},
    "a coin, then a slot": {"reservoir": reservoir(COIN)},
    "a fraction of what was seen": {"reservoir": reservoir(FRACTION)},
    "other words": {
        "probabilities": probabilities("k / max(k, t)", "(max(t, k + 1) - (t > k)) / max(t, k + 1)", "k / max(n, k)"),
        "fairness": p_value(
            "1 - stats.chi2.cdf((n - 1) / n * differences.sum() / (runs * k / n * (1 - k / n)), n - 1)"
        ),
        "domains": DOMAINS.format("np.array([600, 200, 200]) * 50 / 1000, 50 * 600 / 800, 'fewer'"),
    },
}
