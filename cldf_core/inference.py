"""Forward passes that need no gradient, quicker on a processor.

Large convolutions of 3 x 3 go by Winograd's minimal filtering: 36 multiplications give a tile of 4 x 4 outputs, which
take 144 otherwise. What is to be multiplied is transformed first, and so is what comes out. Libraries for graphics
cards do so by themselves; torch's for processors does not.

Source: Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4.3: F(4 x 4, 3 x 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# The transforms along one side of a tile: of 6 inputs, of 3 weights, and of 6 products into 4 outputs.
INPUT = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
WEIGHT = torch.tensor([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
OUTPUT = torch.tensor([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
# Along both sides, of a tile as one long column.
INPUT_TILE, WEIGHT_TILE, OUTPUT_TILE = (torch.kron(m, m).float() for m in (INPUT, WEIGHT, OUTPUT))
IN_CACHE = 1 << 20  # so many numbers at a time
ENOUGH = 64  # tiles, for the weights' transform to pay


class QuickInference(TorchFunctionMode):
    """A context in which networks take less time, on a processor, in float32 and without gradients; else as ever.

    Convolutions of 3 x 3 from 128 channels on go by Winograd's way where there are tiles enough. They round to about
    3e-6 of their outputs' standard deviation, the direct way to 2e-7 (root mean squares). In evaluation mode,
    BatchNorm writes over the output of the convolution before it; so nothing should keep that while this is entered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolved: Tensor | None = None  # the last convolution's output
        self.room = torch.empty(0)  # for transformed weights: new memory for each takes longer than to fill it

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """What `func` gives, in less time."""
        kwargs = kwargs or {}
        if torch.is_grad_enabled() or not args:
            return func(*args, **kwargs)
        if func is torch.conv2d and len(args) > 1:
            self.convolved = self._winograd(*args[:2]) if _pays(*args, **kwargs) else func(*args, **kwargs)
            return self.convolved
        if func is F.batch_norm and args[0] is self.convolved:
            return _batch_norm_in_place(*args, **kwargs)
        return func(*args, **kwargs)

    def _winograd(self, maps: Tensor, weight: Tensor) -> Tensor:
        """Shapes (N, C, H, W) and (K, C, 3, 3) to (N, K, H, W); the maps are padded by one."""
        (n, inputs, height, width), outputs = maps.shape, len(weight)
        high, wide = _tiles(maps)
        flat = weight.permute(2, 3, 0, 1).reshape(9, -1)
        if len(self.room) < 4 * flat.numel():
            self.room = torch.empty(4 * flat.numel())
        there = self.room[: 4 * flat.numel()].view(36, -1)
        factors = torch.mm(WEIGHT_TILE, flat, out=there).view(36, outputs, inputs).mT
        padded = F.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 4 * wide - width + 1, 1, 4 * high - height + 1))
        tiles = padded.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3)  # they overlap by two
        out = maps.new_empty(n, height, width, outputs)
        # As many tiles as the cache holds, but so many that a matrix product is quick.
        at_once = -(-max(2 * ENOUGH, IN_CACHE // (36 * inputs)) // (high * wide))
        for start in range(0, n, at_once):
            part = slice(start, start + at_once)
            points = (INPUT_TILE @ tiles[:, :, part].reshape(36, -1)).view(36, -1, inputs)
            done = (OUTPUT_TILE @ torch.bmm(points, factors).view(36, -1)).view(4, 4, -1, high, wide, outputs)
            done = done.permute(2, 3, 0, 4, 1, 5).reshape(-1, 4 * high, 4 * wide, outputs)
            out[part] = done[:, :height, :width]
        return out.permute(0, 3, 1, 2)


def _tiles(maps: Tensor) -> tuple[int, int]:
    """How many, down and across."""
    return -(-maps.shape[2] // 4), -(-maps.shape[3] // 4)


def _pays(
    maps: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    high, wide = _tiles(maps)
    return (
        maps.device.type == "cpu"
        and maps.dtype == torch.float32
        and weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= 128
        and bias is None
        and groups == 1
        and all(x in (1, (1, 1)) for x in (stride, padding, dilation))
        and len(maps) * high * wide >= ENOUGH
        # Tiles that stand out at the edges are worked for in vain.
        and 16 * high * wide < 4 / 3 * maps.shape[2] * maps.shape[3]
    )


def _batch_norm_in_place(
    input: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or input.device.type != "cpu" or input.dtype != torch.float32:
        return F.batch_norm(input, mean, variance, weight, bias, training, momentum, eps)
    none = input.new_empty(0), input.new_empty(0)
    torch.native_batch_norm(input, weight, bias, mean, variance, False, momentum, eps, out=(input, *none))
    return input
