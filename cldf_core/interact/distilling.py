"""What temperature and weight of LwF's second loss do to one image (notebook 06)."""

import numpy as np
from matplotlib.figure import Figure
from scipy.special import expit, logit

from cldf_core.figures.style import CLASS_COLOURS, agent_colour, described, panels
from cldf_core.interact.live import Live, choice, slider

ANSWERS = np.linspace(0.001, 0.999, 999)  # P(fake) that a network may say
TEMPERATURES = (0.5, 1.0, 2.0, 4.0, 8.0)
WEIGHTS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
TEACHER = (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999)


def softened(fake: np.ndarray | float, temperature: float) -> np.ndarray:
    """P(fake) with both logits divided by a temperature."""
    return expit(logit(fake) / temperature)


def two_losses(fake: np.ndarray, teacher: float, label: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy with the label, and distillation loss, in nats, of a network that says these P(fake)."""
    own, asked = softened(fake, temperature), softened(teacher, temperature)
    distillation = -(temperature**2) * (asked * np.log(own) + (1 - asked) * np.log1p(-own))
    return -np.log(fake if label else 1 - fake), distillation


def distilling() -> Live:
    """The two losses of LwF against what the network says of one image, and where their sum is smallest."""
    return Live(
        _distilling,
        label=choice("label", ["fake", "real"]),
        teacher=slider("teacher's P(fake)", TEACHER, 0.1),
        temperature=slider("temperature", TEMPERATURES, 2.0),
        weight=slider("weight λ", WEIGHTS, 1.0),
    )


def _distilling(label: str, teacher: float, temperature: float, weight: float) -> Figure:
    figure, ((left, right),) = panels(1, 2, 2.7, width_ratios=(1, 2))
    target = float(softened(teacher, temperature))
    says = np.array([teacher, target])
    left.bar([0, 1], 1 - says, color=CLASS_COLOURS["real"], width=0.6, label="real")
    left.bar([0, 1], says, bottom=1 - says, color=CLASS_COLOURS["fake"], width=0.6, label="fake")
    left.set(xticks=[0, 1], xlim=(-0.5, 2.3), ylabel="probability", title="the teacher")
    left.set_xticklabels(["says", f"softened by {temperature:g}"], fontsize=8)
    own, distillation = two_losses(ANSWERS, teacher, int(label == "fake"), temperature)
    distillation -= distillation.min()  # what no answer can change, the teacher's own uncertainty
    total = own + weight * distillation
    best = ANSWERS[total.argmin()]
    right.plot(ANSWERS, own, color="0.4", linestyle="--", linewidth=1, label="label alone")
    right.plot(ANSWERS, weight * distillation, color="0.4", linestyle=":", linewidth=1, label="λ times the teacher's")
    right.plot(ANSWERS, total, color=agent_colour("lwf"), linewidth=1.6, label="sum")
    right.plot(best, total.min(), "o", color=agent_colour("lwf"), markersize=7, label="smallest")
    right.axvline(0.5, color="0.4", linestyle=":", linewidth=0.8)
    right.set(xlim=(0, 1), ylim=(0, min(12, 3 * total.min() + 2)), xlabel="P(fake) that the network says")
    right.set(ylabel="loss (nats)", title=f"label: {label}")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    left.legend(frameon=False, fontsize=7, loc="center right")
    text = f"The teacher says P(fake) {teacher:g} of an image with the label {label}, softened {target:.2f}; with the"
    return described(figure, f"{text} weight {weight:g} the loss is smallest where the network says {best:.2f}.")
