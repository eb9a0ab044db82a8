"""The Fourier laboratory of notebook 02: one wave, sums of waves, phases, bands, and what up-sampling copies."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cldf_core.evaluation.traces import radial_profile
from cldf_core.figures.exploration import FREQUENCY, PLANE
from cldf_core.figures.style import described, panels
from cldf_core.interact.live import Live, choice, slider, span_slider
from cldf_core.interact.waves import KERNELS, enlarged, log_plane, plane_wave, strongest_waves, with_phases, within_band
from cldf_core.spectrum import frequency_radius

FIRST, SECOND = "the first", "the second"
TIMES = {1: "once", 2: "twice", 3: "three times"}
_COLOUR = "#0072B2"
_SIZE = 32  # pixels a side of a single wave, so that pixels can be counted


def one_wave() -> Live:
    """One wave: its brightness along a line, its stripes, and the two places of the spectrum where it is."""
    return Live(
        _one_wave,
        frequency=slider("frequency / Nyquist", [k / 16 for k in range(25)], 0.25),
        direction=slider("direction (degrees)", range(0, 181, 15), 0),
        phase=slider("phase (degrees)", range(0, 361, 30), 0),
    )


def _one_wave(frequency: float, direction: float, phase: float) -> Figure:
    figure, ((line, plane, spectrum),) = panels(1, 3, 2.5, width_ratios=(1.2, 1, 1))
    wave = plane_wave(_SIZE, frequency, direction, phase)
    line.plot(wave[0], ".-", color=_COLOUR, linewidth=1)
    line.set(xlabel="pixel of the first row", ylabel="brightness", ylim=(-1.15, 1.15), title="along a line")
    _grey(plane, wave, "in the plane", -1, 1)
    strength = np.abs(np.fft.fft2(wave)) / wave.size
    _spectrum(spectrum, strength, "its spectrum |F|", 0, 0.5)
    places = np.argwhere(np.fft.fftshift(strength) > 1e-9) / (_SIZE / 2) - 1
    middles = places + 1 / _SIZE  # of the drawn squares
    spectrum.plot(middles[:, 1], middles[:, 0], "o", mfc="none", color="white", markersize=9)
    text = f"A wave of {frequency:.2f} of Nyquist's frequency that runs at {direction:.0f} degrees: along a line, as"
    where = " and ".join(f"({x:.2f}, {y:.2f})".replace("-", "−") for y, x in places)
    found = f"where it is at {where}" if where else "where nothing is, as the wave is zero at every pixel"
    return described(figure, f"{text} stripes, and in the spectrum, {found}.")


def sum_of_waves(photograph: np.ndarray) -> Live:
    """The strongest waves of a photograph, brightness (H, W) from 0 to 255, added up: of one line, and of all of it."""
    most = photograph.size // 2 + 2  # more than there are pairs
    counts = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
    counts = [count for count in counts if count < most] + [most]

    def draw(count: int) -> Figure:
        figure, ((line, plane, kept, spectrum),) = panels(1, 4, 2.2, width_ratios=(1.3, 1, 1, 1))
        middle = photograph[len(photograph) // 2]
        sums = strongest_waves(middle[None], count)[0], strongest_waves(photograph, count)
        line.plot(middle, color="0.7", linewidth=2, label="photograph")
        line.plot(sums[0], color=_COLOUR, linewidth=1, label="sum")
        line.set(xlabel="pixel of the middle row", ylabel="brightness", ylim=(0, 255), title="the middle row alone")
        line.legend(frameon=False, fontsize=6)
        _grey(plane, photograph, "photograph")
        _grey(kept, sums[1], "sum of its waves")
        there = np.abs(np.fft.fft2(sums[1])) > 1e-6 * np.abs(np.fft.fft2(photograph)).max()
        _spectrum(spectrum, there, "where these are", 0, 1)
        off = np.sqrt(np.mean((sums[1] - photograph) ** 2))
        how = "all" if count == most else f"the {count} strongest" if count > 1 else "the strongest"
        text = f"A photograph and the sum of {how} of its waves, which is off by {off:.1f} grey levels"
        return described(figure, f"{text} (root mean square); the same for its middle row.")

    named = [(f"{count}" if count < most else "all", count) for count in counts]
    return Live(draw, count=slider("strongest waves", named, min(50, most)))


def phases(first: np.ndarray, second: np.ndarray) -> Live:
    """Two photographs, brightness (H, W), and the strengths of the waves of one with the phases of one of them."""
    images = {FIRST: first, SECOND: second}

    def draw(strengths: str, phases: str) -> Figure:
        figure, ((left, middle, right),) = panels(1, 3, 2.6)
        for axis, (name, image) in zip((left, middle), images.items(), strict=True):
            _grey(axis, image, f"{name} photograph")
        _grey(right, with_phases(images[strengths], images[phases]), f"strengths: {strengths}\nphases: {phases}")
        what = f"one with the strengths of the waves of {strengths} and the phases of {phases}"
        return described(figure, f"Two photographs, and {what}.")

    names = list(images)
    return Live(draw, strengths=choice("strengths of", names), phases=choice("phases of", names, SECOND))


def band(photograph: np.ndarray) -> Live:
    """A photograph, brightness (H, W), of which only a band of frequencies is kept."""
    radius = frequency_radius(photograph.shape[0], photograph.shape[1], "full")

    def draw(r: tuple[float, float]) -> Figure:
        figure, ((left, middle, right),) = panels(1, 3, 2.6)
        inside = (radius >= r[0]) & (radius <= r[1])
        plane = log_plane(photograph)
        _grey(left, photograph, "photograph")
        _spectrum(middle, np.where(inside, plane, np.nan), "ln |F| that is kept", *np.quantile(plane, [0.05, 0.999]))
        grey = 0 if r[0] == 0 else 128  # without its mean an image is as often below 0 as above
        _grey(right, within_band(photograph, *r) + grey, "transformed back" + " (+ grey)" * (grey > 0))
        share = inside.mean()
        text = f"A photograph of which the frequencies from {r[0]:.2f} to {r[1]:.2f} of Nyquist's are kept"
        return described(figure, f"{text}, {share:.0%} of the plane, before and after, and its spectrum.")

    return Live(draw, r=span_slider("frequencies kept", [round(k / 20, 2) for k in range(21)], (0.2, 1.0)))


def up_sampling(photograph: np.ndarray) -> Live:
    """A photograph, brightness (H, W), that was shrunk and is enlarged again, up to eight times on either side."""
    photograph = photograph[: len(photograph) // 8 * 8, : photograph.shape[1] // 8 * 8]

    def draw(way: str, times: int) -> Figure:
        figure, ((left, middle, right),) = panels(1, 3, 2.6, width_ratios=(1, 1, 1.25))
        step = 2**times
        height, width = (side // step for side in photograph.shape)
        small = photograph.reshape(height, step, width, step).mean((1, 3))
        large = enlarged(small, way, times)  # type: ignore[arg-type]  # a name in KERNELS
        planes = {"the photograph": log_plane(photograph), "enlarged": log_plane(large)}
        _grey(left, large[: len(large) // 3, : len(large) // 3], "enlarged: a corner")
        low, high = np.quantile(planes["the photograph"], [0.05, 0.999])
        _spectrum(middle, planes["enlarged"], "its spectrum, ln |F|", low, high)
        for (name, plane), colour in zip(planes.items(), ("0.6", _COLOUR), strict=True):
            rings, profile = radial_profile(plane[:, : plane.shape[1] // 2 + 1])
            right.plot(rings, profile, color=colour, linewidth=1.2, label=name)
        for copy in np.arange(2, step + 1, 2) / step:  # where copies have their middle
            right.axvline(copy, color="0.4", linestyle=":", linewidth=0.8)
        right.set(xlabel="r / Nyquist (dotted: middles of copies)", ylabel="mean ln |F|", title="round the plane")
        right.legend(frameon=False, fontsize=7)
        text = f"A photograph that was shrunk to 1/{step} and enlarged {TIMES[times]} by {way}: a corner, its spectrum"
        return described(figure, f"{text}, and the mean of it over frequency, beside that of the photograph.")

    return Live(draw, way=choice("way", list(KERNELS)), times=slider("times enlarged", list(TIMES), 1))


def _grey(axis: Axes, image: np.ndarray, title: str, low: float = 0, high: float = 255) -> None:
    axis.imshow(image, cmap="gray", vmin=low, vmax=high)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize="medium")


def _spectrum(axis: Axes, plane: np.ndarray, title: str, low: float, high: float) -> None:
    axis.imshow(np.fft.fftshift(plane), vmin=low, vmax=high, extent=PLANE)
    axis.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1], xlabel=FREQUENCY)
    axis.set_title(title, fontsize="medium")
