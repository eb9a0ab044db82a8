"""Figures of images, spectra and single numbers: what is drawn is what arrays and tables hold."""

import numpy as np
import pandas as pd
import pytest

from cldf_core import figures

RNG = np.random.default_rng(0)


def texts(axis) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_a_verdict_is_a_dot_on_the_line_from_real_to_fake():
    images, spectra = RNG.integers(0, 256, (2, 3, 16, 16), dtype=np.uint8), RNG.uniform(-1, 1, (2, 3, 16, 9))
    figure = figures.pixels_to_verdict(images, spectra, [0.0, 0.75])
    for axis, score, said in ((figure.axes[2], 0.0, "0.000: “real”"), (figure.axes[5], 0.75, "0.750: “fake”")):
        (dot,) = [line for line in axis.lines if line.get_marker() == "o"]
        assert (dot.get_xdata()[0], dot.get_markersize() > 5) == (score, True)  # one of 0 is to be seen, too
        assert texts(axis) == [f"P(fake) = {said}"]


def test_what_filled_and_hollow_marks_are_is_said():
    rows = [("a", "a", True), ("a", "b", False), ("a then b", "a", True), ("a then b", "b", True)]
    table = pd.DataFrame(rows, columns=["after", "domain", "trained"]).assign(value=0.8, low=0.7, high=0.9)
    figure = figures.after_each_step(table)
    (legend,) = figure.legends
    faces = {
        text.get_text(): line.get_markerfacecolor() for text, line in zip(legend.texts, legend.get_lines(), strict=True)
    }
    drawn = [line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker() in ("o", "s")]
    assert drawn == [faces["learned by then"], faces["not learned"]]


def test_differences_of_pairs_are_those_of_the_colour_that_changed_most():
    real = np.full((3, 4, 4), 100, np.uint8)
    fake = real.copy()
    fake[0, 0, 0], fake[1, 0, 0] = 90, 104  # -10 is further than 4
    fake[2, 3, 3] = 255
    figure = figures.sample_pairs({"one": [(real, fake)], "other": [(real, real), (fake, real)]})
    drawn = np.asarray(figure.axes[2].images[0].get_array())
    assert (drawn[0, 0], drawn[3, 3], np.count_nonzero(drawn)) == (-10, 155, 2)
    norm = figure.axes[2].images[0].norm
    assert (norm.vmin, norm.vmax) == (-255, 255)  # nothing is clipped
    assert not figure.axes[3].get_visible()  # a domain with one pair
    assert "155 (one)" in figure.get_label()


def test_the_range_of_a_single_number_holds_all_of_it_and_little_else():
    rows = [
        ("mean red", "a", 0.5, 0.497, 0.502),
        ("mean red", "b", 0.495, np.nan, np.nan),
        ("size", "a", 0.7, 0.6, 0.9),
    ]
    table = pd.DataFrame(rows, columns=["cue", "domain", "value", "low", "high"])
    red, size = figures.single_numbers(table).axes
    assert red.get_xlim() == pytest.approx((0.5 - 0.0115, 0.5 + 0.0115))
    assert size.get_xlim() == pytest.approx((0.04, 0.96))


def test_numbers_of_a_small_plane_are_written_into_it():
    steps = {"pixels": np.zeros((8, 8, 3), np.uint8), "corner": np.array([[812.4, 3.0], [2.6, 0.0]])}
    pixels, corner = figures.spectrum_steps(steps).axes[:2]
    assert texts(pixels) == []
    assert {text.get_position(): text.get_text() for text in corner.texts} == {
        (0, 0): "812",
        (1, 0): "3",
        (0, 1): "3",
        (1, 1): "0",
    }


def test_mean_spectra_show_the_peaks_up_to_the_rim():
    planes = {kind: RNG.normal(size=(2, 20, 11)) for kind in ("real", "fake")}
    peaks = {kind: RNG.normal(size=(2, 20, 11)) for kind in ("real", "fake")}
    axes = figures.mean_spectra(planes, peaks, ["a", "b"]).axes[:9]
    shown = [[np.asarray(image.get_array()) for axis in axes[k : k + 3] for image in axis.images] for k in (0, 3, 6)]
    whole = [planes["real"].mean(0), *planes["fake"]]
    for drawn, plane in zip(shown[0], whole, strict=True):
        np.testing.assert_allclose(np.fft.ifftshift(drawn)[:, :11], plane)
    for drawn, plane in zip(shown[1], planes["fake"] - planes["real"], strict=True):
        np.testing.assert_allclose(np.fft.ifftshift(drawn)[:, :11], plane)
    for drawn, plane in zip(shown[2], [peaks["real"].mean(0), *peaks["fake"]], strict=True):
        np.testing.assert_array_equal(drawn, plane[4:11, 4:11])  # from 0.4 of Nyquist to 1
    left, right, bottom, top = axes[7].images[0].get_extent()
    assert (left, right) == (bottom, top) == pytest.approx((0.35, 1.05))
    assert not axes[3].get_visible()  # real minus real


def test_copies_share_a_scale():
    pictures = {name: RNG.uniform(0, 255, (size, size)) for name, size in (("large", 8), ("small", 4))}
    axes = figures.copies(pictures, pictures).axes
    assert axes[2].images[0].get_clim() == axes[3].images[0].get_clim()
    np.testing.assert_array_equal(np.fft.ifftshift(axes[3].images[0].get_array()), pictures["small"])


def test_a_ladder_is_climbed_from_the_bottom_and_lacks_what_was_not_run():
    rows = [
        ("sharpness", "a", 0.8, 0.7, 0.9),
        ("sharpness", "b", 0.5, np.nan, np.nan),
        ("network", "a", 0.9, 0.85, 0.95),
    ]
    table = pd.DataFrame(rows, columns=["rung", "domain", "value", "low", "high"])
    first, second = figures.ladder(table, label="AUC").axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["sharpness", "network"]
    assert first.get_ylim() == (-0.5, 1.5)
    bars = [tuple(np.asarray(values, float).tolist() for values in line.get_data()) for line in first.lines]
    assert ([0.7, 0.9], [0, 0]) in bars
    assert ([0.85, 0.95], [1, 1]) in bars
    assert ([0.9], [1]) in bars
    assert {height for line in second.lines[:-1] for height in line.get_ydata()} == {0}  # no network there
    assert [axis.get_title() for axis in (first, second)] == ["a", "b"]


def test_cells_with_one_verdict_say_so():
    rows = [(1, "a", 0.5, 0.45, 0.55, "all real"), (1, "b", 0.9, 0.85, 0.95, "mixed")]
    cells = pd.DataFrame(rows, columns=["step", "domain", "value", "low", "high", "verdicts"]).assign(agent="er")
    assert texts(figures.matrices(cells, ["a"]).axes[0]) == [".50", "±.05\nall real", ".90", "±.05"]
    assert texts(figures.matrices(cells.drop(columns="verdicts"), ["a"]).axes[0]) == [".50", "±.05", ".90", "±.05"]
