"""Checkpoints as the original code wants them: names, content, and that writing and reading lose nothing."""

import pytest
import torch
from torch import nn
from torchvision import models

from cldf_core.detection.pth import read_checkpoint
from cldf_core.options import UserError, checked
from cldf_core.original.pth import file_name, write_checkpoint
from cldf_core.resnet import build_network
from samples import moved, same


@pytest.mark.parametrize(
    ("agent", "changes", "mode", "name"),
    [
        ("er", {"network": "resnet34"}, "CL", "CL_ER_VFHQ-F_fft_0_resnet"),
        ("mir", {"network": "slim"}, "CL", "CL_MIR_VFHQ-F_fft_0_slim"),
        ("icarl", {"band": "mid"}, "CL", "CL_ICARL_VFHQ-F_fft_2_resnet"),
        ("er", {"feature": "image", "network": "resnet18"}, "CL", "CL_ER_VFHQ-F_image_0_resnet18"),
        ("er", {"variant": "paper", "band": "high"}, "CL", "CL_ER_VFHQ-F_fft_3_slim_paper"),
        ("separate", {}, "NoCL", "NoCL_VFHQ-F_fft_0_resnet"),
        ("sequential", {"band": "low"}, "Normal", "Normal_VFHQ-F_fft_1_resnet"),
    ],
)
def test_files_are_named_as_the_original_names_them(agent, changes, mode, name):
    options = checked({"variant": "original", "seed": 4, "agent": agent, **changes})
    assert file_name(options, "VFHQ-F", mode) == f"{name}_checkpoint_latest.pth"
    assert file_name(options, "VFHQ-F", mode, several_seeds=True) == f"{name}_seed4_checkpoint_latest.pth"


def test_the_original_code_can_load_ours(tmp_path):
    network = moved(build_network("resnet34"), seed=1)
    write_checkpoint(network, checked({"variant": "original"}), tmp_path / "ours.pth")
    plain = models.resnet34()
    plain.fc = nn.Linear(512, 2)
    plain.load_state_dict(torch.load(tmp_path / "ours.pth", weights_only=True)["state_dict"], strict=True)
    rgb = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        theirs, ours = plain.eval()(rgb.flip(1)), network(rgb)
    assert theirs.std() > 0.01
    torch.testing.assert_close(theirs.flip(1), ours, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(theirs, ours, atol=1e-3)


@pytest.mark.parametrize("name", ["slim", "resnet18"])
def test_a_checkpoint_of_any_network_is_read_with_the_options_of_its_run(name, tmp_path):
    values = {"network": name, "size": 64, "band": "high", "seed": 3}
    opts = checked({"agent": "er", "data": "x", "memory": 7, "width": 16, **values})
    network = moved(build_network(name, width=16), seed=1)
    write_checkpoint(network, opts, tmp_path / "ours.pth")
    read, found, _ = read_checkpoint(tmp_path / "ours.pth")
    assert same(dict(read.state_dict()), dict(network.state_dict()))
    assert not read.training
    wanted = {**values, "plane": "half", "crop": "centre"}
    assert {k: getattr(found, k) for k in wanted} == wanted
    with pytest.raises(UserError, match="this network has 4 outputs; the original's files hold two"):
        write_checkpoint(build_network(name, outputs=4), opts, tmp_path / "four.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["ours.pth"]
