"""Solutions of the exercise gdumb_sampler that are wrong in a typical way, or right in an unusual one."""


def sampler(share: str = "self.capacity / len(self.met)", goes: str = "self.rng.choice(places)") -> str:
    return f"""
class Balanced:
    def __init__(self, capacity, rng):
        self.capacity, self.rng, self.items, self.met = capacity, rng, [], set()

    def offer(self, group, image):
        self.met.add(group)
        counts = Counter(kept for kept, _ in self.items)
        if counts[group] >= {share}:
            return
        if len(self.items) == self.capacity:
            places = [place for place, (kept, _) in enumerate(self.items) if counts[kept] == max(counts.values())]
            largest = self.items[places[0]][0]
            places = [place for place, (kept, _) in enumerate(self.items) if kept == largest]
            del self.items[{goes}]
        self.items.append((group, image))
"""


ANSWERS = "small_group, late_group, by_class = {}"
BY_HAND = "after_5, after_6, after_8, after_9 = {}"
# Cells that are replaced, and the points that are lost.
WRONG = {
    "whole shares": ({"sampler": sampler("self.capacity // len(self.met)")}, {"test-sampler": 1}),
    "the oldest goes": ({"sampler": sampler(goes="places[0]")}, {"test-sampler": 1}),
    "another generator": ({"sampler": sampler(goes="np.random.default_rng().choice(places)")}, {"test-sampler": 1}),
    "anybody goes": ({"sampler": sampler(goes="self.rng.integers(len(self.items))")}, {"test-sampler": 2}),
    "takes everything": ({"sampler": sampler("self.capacity + 1")}, {"test-sampler": 2}),
    "nobody goes": (
        {"sampler": sampler().replace("if len(self.items) == self.capacity:", "if len(self.items) > self.capacity:")},
        {"test-sampler": 5},
    ),
    "balanced at once": (
        {"by-hand": BY_HAND.format("{'a': 4}, {'a': 2, 'b': 2}, {'a': 2, 'b': 2}, {'a': 2, 'b': 1, 'c': 1}")},
        {"test-by-hand": 0.5},
    ),
    "in proportion": ({"meaning": ANSWERS.format("1, 25, 67")}, {"test-meaning": 2}),
}
BY_LISTS = """
class Balanced:
    def __init__(self, capacity, rng):
        self.capacity, self.rng, self.groups = capacity, rng, {}

    @property
    def items(self):
        return [(group, image) for group, images in self.groups.items() for image in images]

    def offer(self, group, image):
        mine = self.groups.setdefault(group, [])
        if len(mine) * len(self.groups) < self.capacity:
            if sum(map(len, self.groups.values())) >= self.capacity:
                largest = max(self.groups.values(), key=len)
                largest.pop(self.rng.integers(len(largest)))
            mine.append(image)
"""
RIGHT = {
    "a list for each group": {"sampler": BY_LISTS},
    "the largest is drawn too": {
        "sampler": sampler().replace("largest = self.items[places[0]][0]", "largest = self.items[places[-1]][0]")
    },
    "with groups that have none": {
        "by-hand": BY_HAND.format(
            "{'a': 4, 'b': 0, 'c': 0}, Counter(a=3, b=1, c=0), {'a': 2, 'b': 2, 'c': 0}, {'a': 1, 'b': 2, 'c': 1}"
        )
    },
    "the other one goes": {
        "by-hand": BY_HAND.format("{'a': 4}, {'b': 1, 'a': 3}, {'b': 2, 'a': 2}, {'c': 1, 'b': 1, 'a': 2}"),
        "meaning": ANSWERS.format("7.0, 100 / 4, 0"),
    },
}
