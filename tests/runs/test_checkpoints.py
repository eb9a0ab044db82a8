"""Networks and states, in files and back."""

import os

import pytest
import torch

from cldf_core.resnet import build_network
from cldf_core.runs.checkpoints import load_network, load_state, save_network, save_state
from samples import tiny_options


def test_the_state_holds_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "pwned"),))

    save_state({"agent": {"x": torch.arange(3)}, "done": 1}, tmp_path / "state.pt")
    assert load_state(tmp_path / "state.pt")["agent"]["x"].tolist() == [0, 1, 2]
    torch.save({"agent": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(Exception, match="(?i)weights.only"):
        load_state(tmp_path / "evil.pt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["slim", "resnet18"])
def test_checkpoints_bring_back_the_network(tmp_path, name):
    opts = tiny_options("icarl", tmp_path, network=name)
    network = build_network(name, outputs=6, width=8).eval()
    save_network(network, opts, tmp_path / "m.safetensors")
    read, options = load_network(tmp_path / "m.safetensors")
    assert options.network == name
    x = torch.randn(2, 3, 32, 17)
    assert torch.equal(read(x), network(x))
