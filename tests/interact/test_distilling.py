"""LwF's two losses of one image: the package's, torch's, and where their sum is smallest by hand."""

import numpy as np
import pytest
import torch

from cldf_core.agents.lwf import distillation_loss
from cldf_core.interact.distilling import ANSWERS, TEMPERATURES, _distilling, distilling, softened, two_losses
from moving import check_live


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("label", [0, 1])
def test_the_losses_are_the_packages(temperature, label):
    own, distillation = two_losses(np.array([0.2, 0.7]), 0.9, label, temperature)
    for k, fake in enumerate((0.2, 0.7)):
        logits = torch.tensor([[1 - fake, fake]], dtype=torch.float64).log() + 3  # a constant changes nothing
        teacher = torch.tensor([[0.1, 0.9]], dtype=torch.float64).log()
        assert own[k] == pytest.approx(torch.nn.functional.cross_entropy(logits, torch.tensor([label])).item())
        assert distillation[k] == pytest.approx(distillation_loss(logits, teacher, temperature).item())
        assert softened(fake, temperature) == pytest.approx((logits / temperature).softmax(1)[0, 1].item())


@pytest.mark.parametrize("weight", [0.1, 1.0, 3.0])
def test_at_temperature_1_the_smallest_sum_is_a_weighted_mean_of_label_and_teacher(weight):
    own, distillation = two_losses(ANSWERS, 0.1, 1, 1.0)
    assert ANSWERS[(own + weight * distillation).argmin()] == pytest.approx((1 + weight * 0.1) / (1 + weight), abs=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 8.0])
@pytest.mark.parametrize("weight", [0.3, 10.0])
@pytest.mark.parametrize("teacher", [0.1, 0.999])
def test_the_smallest_sum_is_in_the_picture(teacher, weight, temperature):
    for label in ("fake", "real"):
        axis = _distilling(label, teacher, temperature, weight).axes[1]
        (dot,) = [line for line in axis.lines if line.get_label() == "smallest"]
        low, high = axis.get_ylim()
        assert low <= dot.get_ydata()[0] < high


def test_every_control_moves_the_picture_and_the_minimum_is_told():
    check_live(distilling())
    live = distilling()
    for name, value in (("temperature", 1.0), ("teacher", 0.1), ("weight", 1.0)):
        live.controls[name].value = value
    assert "softened 0.10; with the weight 1 the loss is smallest where the network says 0.55." in live.picture.value
