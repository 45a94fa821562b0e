"""A recorded step of the official code on DeepLab-v2: losses, gradients, statistics.

ResNet-101 in train mode, with four dilation rates, parameters drawn from their names. Gradients are
compared next to the losses they are from; test_bdl_step.py compares all of them with a literal step
on a small network.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_parameters import golden_parameter
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from tiny_segmentation import TinyAdversarialLoss
from torch import nn
from torch.nn import functional

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "segmentation" / "bdl_train_step.npz"


@MODELS.register_module(force=True)
class RecordedHead(BaseDecodeHead):
    """The sum of four dilated convolutions."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        del self.conv_seg
        self.conv2d_list = nn.ModuleList(
            nn.Conv2d(self.in_channels[0], self.num_classes, 3, padding=rate, dilation=rate)
            for rate in (6, 12, 18, 24)
        )

    def forward(self, features):
        return sum(conv(features[0]) for conv in self.conv2d_list)


@MODELS.register_module(force=True)
class RecordedDiscriminator(nn.Module):
    """Five convolutions of stride 2."""

    def __init__(self):
        super().__init__()
        widths = (19, 64, 128, 256, 512)
        for number in range(4):
            conv = nn.Conv2d(widths[number], widths[number + 1], 4, 2, 1)
            self.add_module(f"conv{number + 1}", conv)
        self.classifier = nn.Conv2d(512, 1, 4, 2, 1)

    def forward(self, x):
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = functional.leaky_relu(conv(x), 0.2)
        return self.classifier(x)


def build():
    return MODELS.build(
        dict(
            type="mmext.BDL",
            segmentor=dict(
                type="EncoderDecoder",
                data_preprocessor=dict(type="SegDataPreProcessor", size_divisor=1),
                backbone=dict(
                    type="ResNet",
                    depth=101,
                    style="caffe",
                    strides=(1, 2, 1, 1),
                    dilations=(1, 1, 2, 4),
                    norm_cfg=dict(type="BN", requires_grad=False),
                    out_indices=(3,),
                ),
                decode_head=dict(
                    type="RecordedHead",
                    in_channels=[2048],
                    channels=19,
                    in_index=[0],
                    input_transform="multiple_select",
                    num_classes=19,
                    align_corners=True,
                    loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
                ),
            ),
            discriminator=dict(type="RecordedDiscriminator"),
            adversarial_loss=dict(type=TinyAdversarialLoss.__name__),
            lambda_adv=0.001,
        )
    )


def fill(module, prefix=""):
    state = module.state_dict()
    module.load_state_dict(
        {name: golden_parameter(prefix + name, value.shape) for name, value in state.items()}
    )


def test_the_recorded_step():
    torch.manual_seed(0)
    model = build()
    backbone = model.segmentor.backbone
    backbone.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
    fill(backbone)
    fill(model.segmentor.decode_head, "layer5.")
    fill(model.discriminator)

    rng = np.random.default_rng(0)
    source, target = (rng.standard_normal((1, 3, 65, 65)).astype(np.float32) for _ in range(2))
    labels = rng.integers(0, 20, (1, 65, 65))
    labels[labels == 19] = 255
    samples = {}
    for name in ("source", "target"):
        samples[name] = [SegDataSample(metainfo=dict(role=name, img_shape=(65, 65)))]
    samples["source"][0].gt_sem_seg = PixelData(data=torch.from_numpy(labels))
    inputs = dict(source=[torch.from_numpy(source[0])], target=[torch.from_numpy(target[0])])

    part = dict(optimizer=dict(type="SGD", lr=0.0))
    wrapper = build_optim_wrapper(
        model,
        dict(
            constructor="mmext.MultiOptimWrapperConstructor",
            segmentor=part,
            discriminator=dict(optimizer=dict(type="SGD", lr=0.0)),
        ),
    )
    gradients = {}

    def keep(*args, **kwargs):
        gradients.update(
            (name, p.grad.clone()) for name, p in model.named_parameters() if p.grad is not None
        )

    for one in wrapper.values():
        one.step = keep
    model.train()
    logs = model.train_step(dict(inputs=inputs, data_samples=samples), wrapper)

    with np.load(GOLDEN) as golden:
        expected = {name: torch.from_numpy(np.array(golden[name])) for name in golden.files}
    found = dict(
        loss_seg_src=logs["source.decode.loss_ce"],
        loss_adv_unweighted=logs["target.loss_adv"] / 0.001,
        loss_D_src=logs["source.loss_discriminator"],
        loss_D_trg=logs["target.loss_discriminator"],
        grad_layer5_0_bias_total=gradients["segmentor.decode_head.conv2d_list.0.bias"],
        grad_D_classifier_bias=gradients["discriminator.classifier.bias"],
        bn1_running_mean=backbone.bn1.running_mean,
        bn1_running_var=backbone.bn1.running_var,
        bn1_num_batches=backbone.bn1.num_batches_tracked,
    )
    assert expected["lambda_adv"] == pytest.approx(0.001)
    errors = {}
    for name, value in found.items():
        want = expected[name].to(value.dtype)
        errors[name] = float((value - want).abs().max() / want.abs().max())
    assert max(errors.values()) < 1e-3, errors
