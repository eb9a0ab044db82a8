"""What a real network still knows of old domains, batch by batch, while it learns a new one (notebook 03)."""

import itertools

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from cldf_core.agents import build_agent
from cldf_core.data.domains import SPLITS
from cldf_core.figures.style import described, label_ends, panels
from cldf_core.protocol import score_samples
from cldf_core.runs.checkpoints import load_network, stored_options
from cldf_core.runs.folder import RunFolder
from cldf_core.runs.run import domain_samples, load_spectra, training_samples
from cldf_core.stream import make_steps


def after_each_batch(run: RunFolder, batches: int, *, most: int = 60) -> pd.DataFrame:
    """Lets the agent of a finished run go through the first batches of its last step again, and tests it after each.

    They are the batches of the run, in their order, from the network that the run had after the step before; the agent
    is one that carries nothing else from step to step, such as sequential training. The images are validation images,
    or where a domain has none, test images, `most` of a domain at most.

    Returns:
        Columns batch (0 is before the first), domain (those of the stream, the new one last), images and value (the
        accuracy).
    """
    options = stored_options(run.manifest["options"])
    old, domains = len(options.stream) - 1, load_spectra(options)
    step = make_steps(training_samples(options, domains), options)[old * options.chunks]
    agent = build_agent(options)
    if old:  # else it is the network that every run of the seed begins with
        agent.network = load_network(run.model(old))[0].to(agent.device)
    tests = {}
    for place, name in enumerate(options.stream):
        table = domains[name].table
        split = next(split for split in (SPLITS[1], SPLITS[2], SPLITS[0]) if (table["split"] == split).any())
        table = table[table["split"] == split]
        chosen = table.iloc[np.unique(np.linspace(0, len(table) - 1, most).astype(int))]
        tests[name] = domain_samples(domains[name], chosen, place), chosen["label"].to_numpy()
    rows = []

    def look(batch: int) -> None:
        for name, (samples, labels) in tests.items():
            right = (score_samples(agent.score, samples) >= 0) == labels
            rows.append((batch, name, len(labels), float(right.mean())))

    look(0)
    part = next(iter(agent.parts(step)))
    agent.begin_step(part)
    for number, batch in enumerate(itertools.islice(part.batches(options.seed, 0), batches), start=1):
        agent.observe(batch)
        look(number)
    return pd.DataFrame(rows, columns=["batch", "domain", "images", "value"])


def course(table: pd.DataFrame) -> Figure:
    """Draws what `after_each_batch` gives: a line for each old domain, and a thick one for the new one."""
    figure, ((axis,),) = panels(1, 1, 2.8)
    ends, words, names = {}, [], list(dict.fromkeys(table["domain"]))
    colours = sns.color_palette("viridis", len(names))[:-1]  # without the lightest, which white would swallow
    for name, dash, colour in zip(
        names, itertools.cycle(["--", "-.", ":"]), [*map(to_hex, colours), "0.1"], strict=False
    ):
        line, is_new = table[table["domain"] == name], name == names[-1]
        axis.plot(line["batch"], line["value"], "-" if is_new else dash, color=colour, linewidth=2.2 if is_new else 1.3)
        ends[f"{name} ({'new' if is_new else 'old'})"] = line["value"].iloc[-1], colour
        words.append(f"{name} from {line['value'].iloc[0]:.2f} to {line['value'].iloc[-1]:.2f}")
    axis.axhline(0.5, color="0.4", linewidth=0.8, linestyle=":")
    axis.set(xlabel=f"batches of {names[-1]}", ylabel="accuracy", ylim=(-0.02, 1.02))
    label_ends(axis, ends)
    return described(
        figure, f"Accuracy after each of {table['batch'].max()} batches of {names[-1]}: {', '.join(words)}."
    )
