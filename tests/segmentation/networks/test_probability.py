"""Prediction by enlarged probabilities, against the official evaluation written out."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn import functional

from mmext.registry import MODELS
from mmext.segmentation.networks import ProbabilityEncoderDecoder

HEAD = dict(type="mmext.LogitsHead", num_classes=4)


class Half(nn.Module):
    """Logits at stride 2, without any weights."""

    def __init__(self, channels=4):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        x = functional.avg_pool2d(x, 2, ceil_mode=True)
        return [torch.cat([x * (i + 1) for i in range(self.channels)], 1)[:, : self.channels]]


@pytest.fixture
def segmentor():
    if "Half" not in MODELS:
        MODELS.register_module(module=Half)
    yield build
    MODELS._module_dict.pop("Half")


def build(kind="mmext.ProbabilityEncoderDecoder", head=HEAD, **test_cfg):
    return MODELS.build(
        dict(
            type=kind,
            backbone=dict(type="mmext.Half"),
            decode_head=dict(head),
            test_cfg=ConfigDict(dict(mode="whole") | test_cfg),
        )
    )


def sample(ori_shape, shape, **meta):
    meta = dict(ori_shape=ori_shape, img_shape=shape, pad_shape=shape) | meta
    return SegDataSample(metainfo=meta)


def interpolate(x, size):
    return functional.interpolate(x, size, mode="bilinear", align_corners=True)


def test_one_step_to_the_original_size(segmentor):
    images = 3 * torch.randn(2, 3, 9, 13)
    model = segmentor()
    shapes = dict(ori_shape=(20, 31), shape=(9, 13))
    predicted = model.predict(images, [sample(**shapes) for _ in images])
    expected = interpolate(model.backbone(images)[0].softmax(1), (20, 31))
    for ours, theirs in zip(predicted, expected, strict=True):
        assert torch.equal(ours.pred_sem_seg.data[0], theirs.argmax(0))
        torch.testing.assert_close(ours.seg_logits.data.softmax(0), theirs)
    # mmseg's way is another one.
    plain = segmentor("mmseg.EncoderDecoder").predict(images, [sample(**shapes) for _ in images])
    two_steps = interpolate(interpolate(model.backbone(images)[0], (9, 13)), (20, 31))
    torch.testing.assert_close(plain[0].seg_logits.data, two_steps[0])


def test_flipped_images_are_flipped_back(segmentor):
    images = torch.randn(1, 3, 9, 13)
    model = segmentor()
    shapes = dict(ori_shape=(20, 31), shape=(9, 13))
    flipped = sample(**shapes, flip=True, flip_direction="horizontal")
    (plain,) = model.predict(images, [sample(**shapes)])
    (back,) = model.predict(images, [flipped])
    torch.testing.assert_close(back.seg_logits.data, plain.seg_logits.data.flip(2))


def test_padding_is_cut_off_first(segmentor):
    images = torch.randn(1, 3, 12, 16)
    model = segmentor()
    padded = sample((20, 31), (9, 13), pad_shape=(12, 16), img_padding_size=(0, 3, 0, 3))
    (predicted,) = model.predict(images, [padded])
    inputs = interpolate(model.backbone(images)[0].softmax(1), (12, 16))
    expected = interpolate(inputs[..., :9, :13], (20, 31))[0]
    torch.testing.assert_close(predicted.seg_logits.data.softmax(0), expected)


def test_originals_of_two_sizes(segmentor):
    images = torch.randn(2, 3, 9, 13)
    model = segmentor()
    samples = [sample((20, 31), (9, 13)), sample((18, 26), (9, 13))]
    predicted = model.predict(images, samples)
    assert [p.pred_sem_seg.shape for p in predicted] == [(20, 31), (18, 26)]


def test_sliding_windows(segmentor):
    images = torch.randn(1, 3, 8, 12)
    model = segmentor(mode="slide", crop_size=(8, 8), stride=(8, 4))
    (predicted,) = model.predict(images, [sample((16, 24), (8, 12))])
    windows = [
        interpolate(model.backbone(images[..., x : x + 8])[0].softmax(1), (8, 8)) for x in (0, 4)
    ]
    joined = torch.zeros(1, 4, 8, 12)
    joined[..., :8] += windows[0]
    joined[..., 4:] += windows[1]
    joined[..., 4:8] /= 2
    expected = interpolate(joined, (16, 24))[0]
    torch.testing.assert_close(predicted.seg_logits.data.softmax(0), expected)


def test_without_samples(segmentor):
    images = torch.randn(2, 3, 9, 13)
    predicted = segmentor().predict(images)
    assert [p.pred_sem_seg.shape for p in predicted] == [(9, 13)] * 2


def test_binary_output_is_refused(segmentor):
    head = dict(HEAD, num_classes=2, out_channels=1, threshold=0.5)
    with pytest.raises(ValueError, match=r"decode_head\.out_channels is 1"):
        segmentor(head=head)


def test_heads_without_logits_are_refused(segmentor):
    model = segmentor()
    assert isinstance(model, ProbabilityEncoderDecoder)
    model.decode_head.forward = lambda inputs: [inputs[0]]
    with pytest.raises(TypeError, match="LogitsHead returns a list"):
        model.predict(torch.randn(1, 3, 9, 13))
