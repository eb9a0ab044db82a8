"""A memory that fills up, slot by slot: a reservoir, and one that is balanced (notebooks 05 and 07)."""

import functools
from collections.abc import Sequence

import numpy as np
import seaborn as sns
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cldf_core.buffers import Balanced, Reservoir
from cldf_core.figures.style import described, panels, two_lines
from cldf_core.interact.live import Live, choice, slider
from cldf_core.options import Options
from cldf_core.randomness import torch_generator
from cldf_core.stream import Batch, Samples, make_steps

RULES: dict[str, type[Reservoir | Balanced]] = {"reservoir (ER)": Reservoir, "balanced (GDumb)": Balanced}
EMPTY = -1
_BATCH = 10


def arrivals(domains: Sequence[tuple[str, Samples]], options: Options) -> list[int]:
    """2 * domain + label of each training image, in the order in which an agent sees them first; reads no image."""
    tiny = [
        (name, Samples.from_array(np.zeros((len(images), 1, 1, 1), np.float16), images.labels, place))
        for place, (name, images) in enumerate(domains)
    ]
    steps = make_steps(tiny, options.model_copy(update={"epochs": 1}))
    batches = [batch for step in steps for batch in step.batches(options.seed)]
    return [group for batch in batches for group in (2 * batch.domains + batch.labels).tolist()]


def fill(groups: np.ndarray, capacity: int, rule: str, seed: int = 0) -> np.ndarray:
    """What is in each slot of a memory, batch of ten by batch of ten, from before the first on.

    Args:
        groups: 2 * domain + label of each image, in the order in which they come, shape (N,).
        rule: one of RULES.

    Returns:
        The group in each slot, or EMPTY, shape (1 + batches, capacity).
    """
    memory, random = RULES[rule](capacity), torch_generator(seed, "memory")
    seen = [np.full(capacity, EMPTY)]
    for part in torch.from_numpy(groups.astype(np.int64)).split(_BATCH):
        memory.offer(Batch(torch.zeros(len(part), 1, 1, 1), part % 2, part // 2, part, 0), random)
        held = (2 * memory.domains + memory.labels).numpy().copy()
        held[len(memory) :] = EMPTY
        seen.append(held)
    return np.stack(seen)


def filling(groups: Sequence[int], names: Sequence[str], capacity: int, *, rule: str = "", seed: int = 0) -> Live:
    """The slots of a memory and what they hold, with sliders over the images that came and over its size.

    The groups are as for `fill`, the names those of the domains.
    """
    order, kinds = np.asarray(groups), 2 * len(names)
    filled = functools.cache(lambda size, how: fill(order, size, how, seed))
    colours = sns.color_palette("viridis", len(names) + 1)[:-1]
    # A fake has its domain's colour, a real image a lighter one.
    shades = [shade for colour in colours for shade in (tuple(0.5 + 0.5 * part for part in colour), colour)]
    batches = -(-len(order) // _BATCH)
    stops = sorted({round(k * batches / 24) for k in range(25)})
    offered = [min(stop * _BATCH, len(order)) for stop in stops]

    def draw(rule: str, capacity: int, images: int) -> Figure:
        figure, ((left, right),) = panels(1, 2, 2.6, width_ratios=(1, 1.2))
        held = filled(capacity, rule)[-(-images // _BATCH)]
        side = int(np.ceil(np.sqrt(capacity)))
        square = np.full(side * side, np.nan)
        square[:capacity] = np.where(held == EMPTY, np.nan, held)
        left.imshow(square.reshape(side, side), cmap=ListedColormap(shades), vmin=-0.5, vmax=kinds - 0.5)
        left.set(xticks=[], yticks=[], title=f"{capacity} slots")
        counts = np.bincount(held[held != EMPTY], minlength=kinds)
        came = np.bincount(order[:images], minlength=kinds)
        right.bar(range(kinds), came, color="none", edgecolor="0.6", linewidth=0.8)
        right.bar(range(kinds), counts, color=shades)
        right.set(xticks=[2 * k + 0.5 for k in range(len(names))], ylabel="images", ylim=(0, None))
        right.set_xticklabels([two_lines(name) for name in names], fontsize=7)
        right.set_title("kept (colours), of those that came (frames)", fontsize="medium")
        marks = [Patch(facecolor=shades[0], label="real (lighter)"), Patch(facecolor=shades[1], label="fake")]
        figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        each = ", ".join(f"{counts[2 * k : 2 * k + 2].sum()} of {name}" for k, name in enumerate(names))
        return described(figure, f"A memory of {capacity} images, {rule}, after {images} have come, holds {each}.")

    sizes = sorted({max(kinds, capacity // 8), max(kinds, capacity // 4), max(kinds, capacity // 2), capacity})
    return Live(
        draw,
        rule=choice("rule", list(RULES), rule or None),
        capacity=slider("slots", sizes, capacity),
        images=slider("images so far", offered, offered[len(offered) // 2], film=True),
    )
