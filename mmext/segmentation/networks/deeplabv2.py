"""DeepLab-v2 as the papers on adapting segmentation use it: its ResNet and its classifier."""

from collections.abc import Sequence
from typing import Any

from mmseg.models.backbones.resnet import ResNet
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.utils import ConfigType
from torch import Tensor, nn

from mmext.registry import MODELS


@MODELS.register_module()
class DeepLabV2ResNet(ResNet):
    """mmseg's ResNet with the settings of DeepLab-v2, stride 8.

    What differs from a ResNet of mmseg's with dilations: the pool of the stem rounds sizes up, so
    that 1024x512 pixels become 129x65 (and not 128x64) scores; strides are in the first 1x1
    convolution of a block; all blocks of a stage have its dilation; scale and shift of the batch
    norms do not learn, but their statistics are those of the batch in training, with running
    averages kept (``norm_eval=True`` would be something else).

    Args:
        depth: 50, 101 or 152 layers.
        **kwargs: As for mmseg's ``ResNet``, whose defaults are replaced by those above. Without
            ``init_cfg`` convolutions begin at N(0, 0.01), as in the official code.

    Source: DeepLab (arXiv 1606.00915) in the form of AdaptSegNet (arXiv 1802.10349), on which BDL
    (arXiv 1904.10620) builds.
    """

    def __init__(self, depth: int = 101, **kwargs: Any) -> None:
        settings = dict(
            style="caffe",
            strides=(1, 2, 1, 1),
            dilations=(1, 1, 2, 4),
            norm_cfg=dict(type="BN", requires_grad=False),
            norm_eval=False,
            init_cfg=[
                dict(type="Normal", layer="Conv2d", std=0.01),
                dict(type="Constant", layer="_BatchNorm", val=1),
            ],
        )
        super().__init__(depth, **(settings | kwargs))
        self.maxpool.ceil_mode = True


@MODELS.register_module()
class DeepLabV2Head(BaseDecodeHead):
    """Classifier of DeepLab-v2: the sum of parallel dilated 3x3 convolutions.

    The paper adds four of them. The code with which AdaptSegNet and BDL were trained returns from
    inside its loop, so that only the first two count: published figures and weights belong to
    ``active_rates=(6, 12)``, the default. The other two are kept for those weights, but do not
    learn. Later code adds all four: ``active_rates=(6, 12, 18, 24)``. Weights of one do not work
    with the other; the converter (family ``deeplabv2``) tells which a file is.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the feature map.
        rates: Dilations (and paddings) of the convolutions.
        active_rates: Those of them that are added up.
        align_corners: How scores are enlarged.
        loss_decode: Config of the loss, or several. The default is averaged over the pixels that
            are not ignored; an image without any costs 0.
        init_cfg: As for :class:`mmengine.model.BaseModule`.
        **kwargs: As for mmseg's ``BaseDecodeHead``.

    Raises:
        ValueError: ``active_rates`` is empty or not part of ``rates``.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 2048,
        rates: Sequence[int] = (6, 12, 18, 24),
        active_rates: Sequence[int] = (6, 12),
        align_corners: bool = True,
        loss_decode: ConfigType | Sequence[ConfigType] = dict(
            type="CrossEntropyLoss", avg_non_ignore=True
        ),
        init_cfg: ConfigType | None = dict(type="Normal", layer="Conv2d", std=0.01),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            in_channels,
            num_classes,
            num_classes=num_classes,
            dropout_ratio=0,
            align_corners=align_corners,
            loss_decode=loss_decode,
            init_cfg=init_cfg,
            **kwargs,
        )
        if not active_rates or not set(active_rates) <= set(rates):
            raise ValueError(
                f"decode_head.active_rates is {tuple(active_rates)}. Expected one or more of "
                f"decode_head.rates, {tuple(rates)}."
            )
        del self.conv_seg  # each of the convolutions below classifies
        self.rates = tuple(rates)
        self.active_rates = tuple(rate for rate in self.rates if rate in active_rates)
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, self.out_channels, 3, padding=rate, dilation=rate)
            for rate in self.rates
        )
        for rate, conv in zip(self.rates, self.convs, strict=True):
            # DistributedDataParallel would wait for the gradients of those that are not run.
            conv.requires_grad_(rate in self.active_rates)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classify.

        Args:
            inputs: Maps of a backbone; the one at ``in_index`` is (B, in_channels, H, W).

        Returns:
            (B, num_classes, H, W) logits, not enlarged.
        """
        feature = self._transform_inputs(inputs)
        logits: Tensor | None = None
        for rate, conv in zip(self.rates, self.convs, strict=True):
            if rate in self.active_rates:
                logits = conv(feature) if logits is None else logits + conv(feature)
        return logits
