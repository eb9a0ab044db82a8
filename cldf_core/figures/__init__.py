"""Every figure of the project is drawn by a function here: tidy table in, seaborn figure out."""

from cldf_core.evaluation.cells import agent_name, metric_name
from cldf_core.figures.ablations import forest, matrix_changes
from cldf_core.figures.attribution import band_losses, evidence, explained
from cldf_core.figures.calibration import calibration_errors, reliability_diagrams
from cldf_core.figures.exploration import (
    after_each_step,
    by_band,
    copies,
    grid_peaks,
    ladder,
    mean_spectra,
    pixels_to_verdict,
    radial_profiles,
    sample_pairs,
    single_numbers,
    spectrum_steps,
)
from cldf_core.figures.mechanisms import (
    herding_choice,
    inclusion,
    interference,
    learning_rate,
    memory_content,
    soft_targets,
)
from cldf_core.figures.performance import last_rows, losses, matrices, over_time
from cldf_core.figures.robustness import (
    against_severity,
    common_step,
    corrupted_examples,
    differences_left,
    verdicts_and_traces,
)
from cldf_core.figures.side_by_side import against_images, by_setting, costs, estimates, ranks, trade_offs
from cldf_core.figures.style import CLASS_COLOURS, MARKERS, WIDTH, theme
