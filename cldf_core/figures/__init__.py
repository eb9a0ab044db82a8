"""Tidy table in, seaborn figure out. Every figure of the project is drawn by one function here."""

from cldf_core.figures.ablations import cell_changes, forest, matrix_changes
from cldf_core.figures.calibration import calibration_errors, reliability_diagrams
from cldf_core.figures.demonstrations import (
    herding_choice,
    inclusion,
    interference,
    learning_rate,
    memory_content,
    soft_targets,
)
from cldf_core.figures.explanations import band_losses, evidence, explained
from cldf_core.figures.look import AGENTS, CLASS_COLOURS, MARKERS, WIDTH, agent_name, short_name, theme
from cldf_core.figures.ranks import ranks
from cldf_core.figures.results import (
    as_text,
    by_setting,
    cells,
    costs,
    estimates,
    loss_table,
    losses,
    matrices,
    over_time,
    trade_offs,
)
from cldf_core.figures.robustness import (
    against_strength,
    common_step,
    differences_left,
    processed_examples,
    verdicts_and_traces,
)
from cldf_core.figures.spectra import (
    after_each_step,
    by_band,
    grid_peaks,
    mean_spectra,
    pixels_to_verdict,
    radial_profiles,
    sample_pairs,
    single_numbers,
    spectrum_steps,
)

__all__ = [
    "AGENTS",
    "CLASS_COLOURS",
    "MARKERS",
    "WIDTH",
    "after_each_step",
    "against_strength",
    "agent_name",
    "as_text",
    "band_losses",
    "by_band",
    "by_setting",
    "calibration_errors",
    "cell_changes",
    "cells",
    "common_step",
    "costs",
    "differences_left",
    "estimates",
    "evidence",
    "explained",
    "forest",
    "grid_peaks",
    "herding_choice",
    "inclusion",
    "interference",
    "learning_rate",
    "loss_table",
    "losses",
    "matrices",
    "matrix_changes",
    "mean_spectra",
    "memory_content",
    "over_time",
    "pixels_to_verdict",
    "processed_examples",
    "radial_profiles",
    "ranks",
    "reliability_diagrams",
    "sample_pairs",
    "short_name",
    "single_numbers",
    "soft_targets",
    "spectrum_steps",
    "theme",
    "trade_offs",
    "verdicts_and_traces",
]
