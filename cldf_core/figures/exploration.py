"""Figures of images, spectra and single numbers (notebooks 00 to 02)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cldf_core.figures.style import CLASS_COLOURS, MARKERS, WIDTH, described, panels, span, two_lines
from cldf_core.spectrum import mirror

FREQUENCY = "frequency / Nyquist"
PLANE = (-1, 1, 1, -1)  # the extent of a shifted spectrum, in fractions of Nyquist
GAIN = 8  # enlarges differences of images


def pixels_to_verdict(images: np.ndarray, spectra: np.ndarray, scores: Sequence[float]) -> Figure:
    """Draws a real image and its fake, uint8 (2, 3, H, W), each with its spectrum and its score, P(fake).

    The spectra have shape (2, 3, H, W/2 + 1) or (2, 3, H, W).
    """
    figure, axes = panels(2, 3, 3.9, width_ratios=(1, 1, 1.1))
    for row, (kind, colour) in enumerate(CLASS_COLOURS.items()):
        left, middle, right = axes[row]
        picture(left, images[row])
        left.set_ylabel(kind, color=colour, fontweight="bold")
        middle.imshow(shifted(spectra[row].mean(0)), vmin=-1, vmax=1, extent=PLANE)
        middle.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1], ylabel=FREQUENCY)
        right.barh([0], [scores[row]], height=0.4, color=colour)
        right.axvline(0.5, ymax=0.55, color="0.4", linestyle=":")
        verdict = "fake" if scores[row] >= 0.5 else "real"
        right.text(0.5, 0.62, f"{scores[row]:.3f}: “{verdict}”", ha="center", transform=right.transAxes)
        right.set(xlim=(0, 1), ylim=(-0.6, 1), yticks=[], xticks=[0, 0.5, 1])
        right.spines["left"].set_visible(False)
    for axis, title in zip(axes[0], ("pixels", "spectrum", "network's verdict"), strict=True):
        axis.set_title(title)
    axes[1, 1].set_xlabel(FREQUENCY)
    axes[1, 2].set_xlabel("P(fake)")
    said = " and ".join(f"{score:.3f}" for score in scores)
    return described(figure, f"A real image and its fake, each with its spectrum; their P(fake) is {said}.")


def after_each_step(table: pd.DataFrame) -> Figure:
    """Draws a panel for each step: the accuracy on every domain, filled if the network was trained on it by then.

    The table has the columns after (the domains learnt so far, in words), domain, value, low, high and trained.
    """
    figure = _domain_panels(table.assign(after="after " + table["after"]), "after", "accuracy", height=0.8, line=0.5)
    for axis in figure.axes:
        axis.set(xlim=(0, 1.02), xlabel="accuracy (0.5 is guessing)")
    return figure


def sample_pairs(pairs: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """Draws pairs of real and fake crops, uint8 (3, H, W), of each domain, and their enlarged differences."""
    count = max(len(of_domain) for of_domain in pairs.values())
    size = WIDTH / (3 * count + 0.4)
    figure, axes = panels(len(pairs), 3 * count, size * len(pairs) + 0.3, gridspec_kw={"wspace": 0.04})
    for row, (name, of_domain) in enumerate(pairs.items()):
        for place, (real, fake) in enumerate(of_domain):
            difference = np.clip(128 + GAIN * (fake.astype(int) - real), 0, 255).astype(np.uint8)
            for column, pixels in enumerate((real, fake, difference), start=3 * place):
                picture(axes[row, column], pixels)
        axes[row, 0].set_ylabel(name, fontsize=6.5)
    for column, axis in enumerate(axes[0]):
        axis.set_title(("real", "fake", f"difference × {GAIN}")[column % 3], fontsize=7.5)
    which = f"{count} real crops, the fakes made from them and their differences"
    return described(figure, f"For each of {', '.join(pairs)}: {which}.")


def single_numbers(table: pd.DataFrame) -> Figure:
    """Draws a panel for each cue: how well this single number tells fake from real in each domain.

    The table has the columns cue, domain, value (AUC), low and high.
    """
    figure = _domain_panels(table, "cue", "AUC", height=0.8, line=0.5)
    for axis in figure.axes:
        axis.set(xlim=(-0.03, 1.03), xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"], xlabel="AUC")
    return figure


def spectrum_steps(steps: Mapping[str, np.ndarray]) -> Figure:
    """Draws the steps that turn an image into the network's input, a panel for each, by its title.

    A step is a colour image (H, W, 3), or a plane (H, columns), which gets a colour bar.
    """
    figure, axes = panels(2, -(-len(steps) // 2), 4.7)
    for axis, (title, values) in zip(axes.flat, steps.items(), strict=False):
        drawn = axis.imshow(values, cmap="gray" if values.dtype == np.uint8 else None)
        height, columns = values.shape[:2]
        # A half plane covers the left half of its panel.
        axis.set(xlim=(-0.5, max(height, columns) - 0.5), xticks=[0, columns - 1], yticks=[0, height - 1])
        axis.set_title(title, fontsize="medium")
        bar = figure.colorbar(drawn, ax=axis, location="bottom", shrink=0.8, aspect=16, ticks=MaxNLocator(2))
        if values.ndim == 3:
            bar.ax.set_visible(False)  # the empty place keeps the panels aligned
    for axis in axes.flat[len(steps) :]:
        axis.set_visible(False)
    return described(figure, f"One image on its way to the network's input: {', then '.join(steps)}.")


def mean_spectra(planes: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Draws the mean log-magnitude spectra of each of the named domains, with the zero frequency in the middle.

    The half planes, shape (domains, H, W/2 + 1), are those of the rows "real", "fake" and "fake − real".
    """
    real, fake, difference = planes.values()
    low, high = np.quantile([real, fake], [0.005, 0.995])
    most = np.quantile(np.abs(difference), 0.995)
    figure, axes = panels(3, len(names), 3.9, sharex=True, sharey=True)
    for row, (kind, of_kind) in enumerate(planes.items()):
        look = {"vmin": -most, "vmax": most, "cmap": "RdBu_r"} if row == 2 else {"vmin": low, "vmax": high}
        for column, plane in enumerate(of_kind):
            drawn = axes[row, column].imshow(shifted(plane), extent=PLANE, **look)
            axes[row, column].set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        axes[row, 0].set_ylabel(kind)
        if row:
            bar = figure.colorbar(drawn, ax=axes[2] if row == 2 else axes[:2], aspect=12 * (3 - row), pad=0.02)
            bar.set_label("ln |F|")
    for column, name in enumerate(names):
        axes[0, column].set_title(two_lines(name), fontsize="medium")
    figure.supxlabel(f"horizontal {FREQUENCY} (vertical axes alike)", fontsize="medium")
    reach = ", ".join(f"{span(plane.ravel())} in {name}" for name, plane in zip(names, difference, strict=True))
    return described(figure, f"Mean spectra of real images, of fakes, and fake minus real, which is (ln |F|) {reach}.")


def radial_profiles(profiles: pd.DataFrame, differences: pd.DataFrame) -> Figure:
    """Draws the log magnitude against frequency for each domain: real and fake, and their difference below.

    Both tables have the columns domain, r, value, low and high; profiles have class ("real", "fake") besides.
    """
    names = list(dict.fromkeys(profiles["domain"]))
    figure, axes = panels(2, len(names), 3.4, sharex=True, sharey="row")
    for column, name in enumerate(names):
        upper, lower = axes[:, column]
        for kind, colour in CLASS_COLOURS.items():
            part = profiles[(profiles["domain"] == name) & (profiles["class"] == kind)]
            _band(upper, part, colour, label=kind, linestyle="-" if kind == "real" else "--")
        _band(lower, differences[differences["domain"] == name], "0.15")
        lower.axhline(0, color="0.4", linestyle=":", linewidth=0.8)
        lower.set(xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
        upper.set_title(two_lines(name), fontsize="medium")
    axes[0, 0].set_ylabel("ln |F|")
    axes[1, 0].set_ylabel("fake − real (ln |F|)")
    axes[0, -1].legend(frameon=False, fontsize=7, loc="upper right")
    figure.supxlabel("distance from the zero frequency / Nyquist", fontsize="medium")
    apart = ", ".join(f"{span(part['value'])} in {name}" for name, part in differences.groupby("domain", sort=False))
    sentence = f"Log magnitude of real and fake images against frequency; fake minus real is (ln |F|) {apart}."
    return described(figure, sentence)


def grid_peaks(table: pd.DataFrame) -> Figure:
    """Draws a panel for each period of a grid: the magnitude on its lines, relative to that beside them.

    The table has the columns period, domain, class ("real", "fake"), value, low and high, which are ratios.
    """
    periods, domains = sorted(table["period"].unique()), list(dict.fromkeys(table["domain"]))
    figure, axes = panels(1, len(periods), 1.1 + 0.32 * len(domains), sharex=True, sharey=True)
    for axis, period in zip(axes[0], periods, strict=True):
        for shift, (kind, colour) in zip((-0.15, 0.15), CLASS_COLOURS.items(), strict=True):
            part = table[(table["period"] == period) & (table["class"] == kind)]
            _domain_points(axis, part, domains, colour=colour, shift=shift)
        axis.axvline(1, color="0.4", linestyle=":")
        axis.set_title(f"period {period} pixels", fontsize="medium")
    kinds = CLASS_COLOURS.items()
    handles = [Line2D([], [], color=colour, marker="o", markersize=5, label=kind) for kind, colour in kinds]
    figure.legend(handles=handles, frameon=False, ncols=2, loc="outside upper right")
    figure.supxlabel("magnitude on the lines / magnitude beside them", fontsize="medium")
    of_class = ", ".join(f"{span(part['value'])} in {kind} images" for kind, part in table.groupby("class"))
    return described(figure, f"Magnitude on the lines of a grid relative to that beside them: {of_class}.")


def by_band(table: pd.DataFrame, *, label: str, line: float = 0) -> Figure:
    """Draws a panel for each band: a value, which the label names, with its interval for each domain.

    The table has the columns band, domain, value, low and high.
    """
    figure = _domain_panels(table, "band", label, height=0.9, line=line, sharex=True)
    figure.supxlabel(label, fontsize="medium")
    return figure


def _domain_panels(
    table: pd.DataFrame, column: str, what: str, *, height: float, line: float, sharex: bool = False
) -> Figure:
    """Draws a panel for each value of a column: a point with its interval for each domain, and a line."""
    names, domains = list(dict.fromkeys(table[column])), list(dict.fromkeys(table["domain"]))
    figure, axes = panels(1, len(names), height + 0.3 * len(domains), sharex=sharex, sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        _domain_points(axis, table[table[column] == name], domains)
        axis.axvline(line, color="0.4", linestyle=":")
        axis.set_title(name, fontsize="medium")
    of_panel = ", ".join(f"{span(part['value'])} ({name})" for name, part in table.groupby(column, sort=False))
    return described(figure, f"{what} on {len(domains)} domains, each with its interval: {of_panel}.")


def _domain_points(
    axis: Axes, table: pd.DataFrame, domains: Sequence[str], *, colour: str = "0.15", shift: float = 0.0
) -> None:
    """Draws a point with its interval for each domain, one below the other, with the domain's marker."""
    for row in table.to_dict("records"):
        place, face = domains.index(row["domain"]), colour if row.get("trained", True) else "white"
        axis.plot([row["low"], row["high"]], [place + shift] * 2, color=colour, linewidth=1.2, zorder=2)
        marker = MARKERS[place % len(MARKERS)]
        axis.plot(row["value"], place + shift, marker, color=colour, markerfacecolor=face, markersize=5, zorder=3)
    axis.set(yticks=range(len(domains)), yticklabels=domains, ylim=(len(domains) - 0.5, -0.5))


def _band(axis: Axes, table: pd.DataFrame, colour: str, *, label: str = "", linestyle: str = "-") -> None:
    axis.fill_between(table["r"], table["low"], table["high"], color=colour, alpha=0.25, linewidth=0)
    axis.plot(table["r"], table["value"], color=colour, linewidth=1.1, label=label, linestyle=linestyle)


def picture(axis: Axes, pixels: np.ndarray) -> None:
    """Draws an image of shape (3, H, W), without ticks or frame."""
    axis.imshow(pixels.transpose(1, 2, 0))
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def shifted(plane: np.ndarray) -> np.ndarray:
    """Returns the full plane with the zero frequency in the middle, made from a half or a full one."""
    full = plane if plane.shape[0] == plane.shape[1] else mirror(plane)
    return np.fft.fftshift(full)
