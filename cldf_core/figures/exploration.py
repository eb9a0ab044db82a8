"""Figures of images, spectra and single numbers (notebooks 00 to 02)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cldf_core.figures.style import CLASS_COLOURS, MARKERS, WIDTH, described, panels, span, two_lines, wrapped
from cldf_core.spectrum import mirror

FREQUENCY = "frequency / Nyquist"
PLANE = (-1, 1, 1, -1)  # the extent of a shifted spectrum, in fractions of Nyquist
FEW = 5  # rows of a plane whose numbers are written
FROM = 0.4  # of Nyquist, from where on peaks are drawn: slower waves are the photographs' own
LEVELS = (-255, -64, -16, -4, -1, 0, 1, 4, 16, 64, 255)  # that the scale of differences of images names


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
        right.plot([0, 1], [0, 0], color="0.8", linewidth=3, zorder=1)
        right.plot(scores[row], 0, "o", color=colour, markersize=9, clip_on=False, zorder=3)
        right.axvline(0.5, ymax=0.55, color="0.4", linestyle=":")
        verdict = "fake" if scores[row] >= 0.5 else "real"
        right.text(0.5, 0.62, f"P(fake) = {scores[row]:.3f}: “{verdict}”", ha="center", transform=right.transAxes)
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

    The table has the columns after (the domains learned so far, in words), domain, value, low, high and trained.
    """
    figure = _domain_panels(table.assign(after="after " + table["after"]), "after", "accuracy", height=1.1, line=0.5)
    for axis in figure.axes:
        axis.set(xlim=(0, 1.02), xlabel="accuracy (dotted: guessing)")
    looks = {"learned by then": "0.15", "not learned": "white"}
    handles = [
        Line2D([], [], color="0.15", marker="o", markersize=5, linewidth=0, markerfacecolor=face, label=label)
        for label, face in looks.items()
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
    return figure


def sample_pairs(pairs: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """Draws pairs of real and fake crops, uint8 (3, H, W), of each domain, and what differs in them.

    Of each pixel the colour that changed most is drawn, on a scale that is linear near 0 and logarithmic further out.
    """
    count = max(1, *(len(of_domain) for of_domain in pairs.values()))
    size = WIDTH / (3 * count + 0.4)
    figure, axes = panels(len(pairs), 3 * count, size * len(pairs) + 0.8, gridspec_kw={"wspace": 0.04})
    norm, most = AsinhNorm(linear_width=1, vmin=LEVELS[0], vmax=LEVELS[-1]), dict[str, float]()
    for row, (name, of_domain) in enumerate(pairs.items()):
        for place, (real, fake) in enumerate(of_domain):
            colours = fake.astype(float) - real
            difference = np.take_along_axis(colours, np.abs(colours).argmax(0)[None], 0)[0]
            most[name] = max(most.get(name, 0.0), float(np.abs(difference).max()))
            for column, pixels in enumerate((real, fake), start=3 * place):
                picture(axes[row, column], pixels)
            axes[row, 3 * place + 2].imshow(difference, norm=norm, cmap="RdBu_r")
            axes[row, 3 * place + 2].set(xticks=[], yticks=[])
            axes[row, 3 * place + 2].spines[:].set(visible=True, color="0.7", linewidth=0.6)
        for axis in axes[row, 3 * len(of_domain) :]:
            axis.set_visible(False)
        axes[row, 0].set_ylabel(name, fontsize=6.5)
    for column, axis in enumerate(axes[0]):
        axis.set_title(("real", "fake", "fake − real")[column % 3], fontsize=7.5)
    bar = figure.colorbar(
        ScalarMappable(norm, "RdBu_r"), ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.01, ticks=LEVELS
    )
    bar.ax.minorticks_off()
    bar.ax.set_xticklabels([f"{step}".replace("-", "−") for step in LEVELS])
    bar.set_label("fake − real of the colour that changed most (levels of 255)", fontsize="small")
    which = f"{count} real crops, the fakes made from them and their differences, at most (levels of 255) "
    return described(figure, f"Of each domain {which}{', '.join(f'{v:.0f} ({name})' for name, v in most.items())}.")


def single_numbers(table: pd.DataFrame) -> Figure:
    """Draws a panel for each cue: how well this single number tells fake from real in each domain.

    The table has the columns cue, domain, value (AUC), low and high.
    """
    figure = _domain_panels(table, "cue", "AUC", height=1.0, line=0.5, markersize=3.5)
    for axis, (_, part) in zip(figure.axes, table.groupby("cue", sort=False), strict=True):
        reach = 1.15 * max(0.01, *(part[["value", "low", "high"]] - 0.5).abs().max().dropna())
        axis.set(xlim=(0.5 - reach, 0.5 + reach))
        axis.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    figure.supxlabel("AUC (dotted: 0.5; each panel has a range of its own)", fontsize="medium")
    return figure


def spectrum_steps(steps: Mapping[str, np.ndarray]) -> Figure:
    """Draws the steps that turn an image into the network's input, a panel for each, by its title.

    A step is a colour image (H, W, 3), or a plane (H, columns), which gets a colour bar that leaves the outermost
    values out. In a plane of at most FEW rows each place holds its number.
    """
    figure, axes = panels(2, -(-len(steps) // 2), 4.7)
    for axis, (title, values) in zip(axes.flat, steps.items(), strict=False):
        low, high = np.quantile(values, [0.002, 0.998])
        drawn = axis.imshow(values, cmap="gray" if values.dtype == np.uint8 else None, vmin=low, vmax=high)
        height, columns = values.shape[:2]
        # A half plane covers the left half of its panel.
        axis.set(xlim=(-0.5, max(height, columns) - 0.5), xticks=[0, columns - 1], yticks=[0, height - 1])
        axis.set_title(title, fontsize="medium")
        cut = "both" if low > values.min() else "neither"
        bar = figure.colorbar(
            drawn, ax=axis, location="bottom", shrink=0.8, aspect=16, ticks=MaxNLocator(2), extend=cut
        )
        if values.ndim == 3 or height <= FEW:
            bar.ax.set_visible(False)  # the empty place keeps the panels aligned
        for (row, column), value in np.ndenumerate(values) if height <= FEW else ():
            colour = "black" if value > (low + high) / 2 else "white"
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
    for axis in axes.flat[len(steps) :]:
        axis.set_visible(False)
    return described(figure, f"One image on its way to the network's input: {', then '.join(steps)}.")


def copies(pictures: Mapping[str, np.ndarray], spectra: Mapping[str, np.ndarray]) -> Figure:
    """Draws ways to enlarge an image: above a part of each, (H, W) of 0 to 255, below its spectrum ln |F|.

    The pictures may have different sizes, and are drawn alike. The spectra, of the same names, are full planes that
    share a scale; the zero frequency is drawn in their middle.
    """
    figure, axes = panels(2, len(pictures), 3.2)
    low, high = np.quantile(np.concatenate([plane.ravel() for plane in spectra.values()]), [0.08, 0.999])
    for (upper, lower), (name, pixels) in zip(axes.T, pictures.items(), strict=True):
        upper.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        upper.set(xticks=[], yticks=[])
        upper.set_title(wrapped(name, 16), fontsize="medium")
        drawn = lower.imshow(np.fft.fftshift(spectra[name]), vmin=low, vmax=high, extent=PLANE)
        lower.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    figure.colorbar(drawn, ax=axes[1], aspect=14, pad=0.02, extend="both").set_label("ln |F|")
    axes[1, 0].set_ylabel(FREQUENCY)
    figure.supxlabel(FREQUENCY, fontsize="medium")
    return described(figure, f"An image and its spectrum after each of these: {', '.join(pictures)}.")


def mean_spectra(planes: Mapping[str, np.ndarray], peaks: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Draws mean spectra of real images of all domains, and of the fakes of each: whole, minus real, and their peaks.

    Args:
        planes: mean ln |F|, half planes, shape (domains, H, W/2 + 1), of "real" and "fake".
        peaks: by how much each frequency stands out from those around it, in the same form; of it the quarter with
            positive frequencies is drawn, from FROM up to the rim.
        names: the domains.
    """
    columns, steps = ["real, all domains", *names], planes["real"].shape[-1] - 1
    first = int(FROM * steps)
    rows = [np.stack([planes["real"].mean(0), *planes["fake"]]), planes["fake"] - planes["real"]]
    rows += [np.stack([peaks["real"].mean(0), *peaks["fake"]])[:, first : steps + 1, first:]]
    low, high = np.quantile(rows[0], [0.005, 0.995])
    most = [float(np.quantile(np.abs(rows[k]), q)) for k, q in ((1, 0.995), (2, 0.998))]
    looks = [{"vmin": low, "vmax": high}, *({"vmin": -m, "vmax": m, "cmap": "RdBu_r"} for m in most)]
    figure, axes = panels(3, len(columns), 4.1)
    ends = (first - 0.5) / steps, (steps + 0.5) / steps  # so that the rim's places lie around 1
    for (row, values), label in zip(enumerate(rows), ("ln |F|", "fake − real (ln |F|)", "peaks (ln |F|)"), strict=True):
        for axis, plane in zip(axes[row, row == 1 :], values, strict=True):
            if row == 2:
                drawn = axis.imshow(plane, extent=(*ends, *ends), origin="lower", **looks[row])
                axis.set(xticks=[0.5, 1], yticks=[0.5, 1])
            else:
                drawn = axis.imshow(shifted(plane), extent=PLANE, **looks[row])
                axis.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
            axis.tick_params(labelsize=7, pad=1)
        figure.colorbar(drawn, ax=axes[row], aspect=12, pad=0.01, extend="both").set_label(label, fontsize=8)
    axes[1, 0].set_visible(False)
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(wrapped(name, 10) if name not in names else two_lines(name), fontsize=8)
    figure.supxlabel(f"horizontal {FREQUENCY} (vertical axes alike; last row: a corner)", fontsize="medium")
    reach = ", ".join(f"{span(plane.ravel())} in {name}" for name, plane in zip(names, rows[1], strict=True))
    return described(
        figure, f"Mean spectra of real images and of fakes, and fake minus real, which is (ln |F|) {reach}."
    )


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
    figure.supxlabel("r, the larger one of horizontal and vertical frequency / Nyquist", fontsize="medium")
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


def ladder(table: pd.DataFrame, *, label: str, line: float = 0.5) -> Figure:
    """Draws a panel for each domain: the value of each rung with its interval, from the bottom up, and a line.

    The table has the columns rung, in their order, domain, value, low and high. The label says what the values are.
    """
    rungs, domains = list(dict.fromkeys(table["rung"])), list(dict.fromkeys(table["domain"]))
    figure, axes = panels(1, len(domains), 1.1 + 0.22 * len(rungs), sharex=True, sharey=True)
    for place, (axis, name) in enumerate(zip(axes[0], domains, strict=True)):
        for row in table[table["domain"] == name].itertuples():
            height, marker = rungs.index(row.rung), MARKERS[place % len(MARKERS)]
            axis.plot([row.low, row.high], [height] * 2, color="0.15", linewidth=1.2)
            axis.plot(row.value, height, marker, color="0.15", markersize=4)
        axis.axvline(line, color="0.4", linestyle=":")
        axis.set_title(two_lines(name), fontsize="medium")
        axis.set(yticks=range(len(rungs)), yticklabels=rungs, ylim=(-0.5, len(rungs) - 0.5))
        axis.xaxis.set_major_locator(MaxNLocator(3))
    figure.supxlabel(label, fontsize="medium")
    of_rung = ", ".join(f"{span(part['value'])} ({rung})" for rung, part in table.groupby("rung", sort=False))
    return described(figure, f"{label} of each rung on {len(domains)} domains, with 95 % intervals: {of_rung}.")


def by_band(table: pd.DataFrame, *, label: str, line: float = 0) -> Figure:
    """Draws a panel for each band: a value, which the label names, with its interval for each domain.

    The table has the columns band, domain, value, low and high.
    """
    figure = _domain_panels(table, "band", label, height=0.9, line=line, sharex=True)
    figure.supxlabel(label, fontsize="medium")
    return figure


def _domain_panels(
    table: pd.DataFrame,
    column: str,
    what: str,
    *,
    height: float,
    line: float,
    sharex: bool = False,
    markersize: float = 5,
) -> Figure:
    """Draws a panel for each value of a column: a point with its interval for each domain, and a line."""
    names, domains = list(dict.fromkeys(table[column])), list(dict.fromkeys(table["domain"]))
    figure, axes = panels(1, len(names), height + 0.3 * len(domains), sharex=sharex, sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        _domain_points(axis, table[table[column] == name], domains, markersize=markersize)
        axis.axvline(line, color="0.4", linestyle=":")
        axis.set_title(name, fontsize="medium")
    of_panel = ", ".join(f"{span(part['value'])} ({name})" for name, part in table.groupby(column, sort=False))
    return described(figure, f"{what} on {len(domains)} domains, each with its interval: {of_panel}.")


def _domain_points(
    axis: Axes,
    table: pd.DataFrame,
    domains: Sequence[str],
    *,
    colour: str = "0.15",
    shift: float = 0.0,
    markersize: float = 5,
) -> None:
    """Draws a point with its interval for each domain, one below the other, with the domain's marker."""
    for row in table.to_dict("records"):
        place, face = domains.index(row["domain"]), colour if row.get("trained", True) else "white"
        axis.plot([row["low"], row["high"]], [place + shift] * 2, color=colour, linewidth=1.2, zorder=2)
        marker = MARKERS[place % len(MARKERS)]
        axis.plot(
            row["value"], place + shift, marker, color=colour, markerfacecolor=face, markersize=markersize, zorder=3
        )
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
