import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import BaseDataElement

from mmext.registry import MODELS
from mmext.restoration.data_preprocessor import mixup, to_unit_rgb


def batch(count=4, size=(8, 8)):
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for _ in range(count)]
    samples = [BaseDataElement(gt_img=image // 2) for image in images]
    return dict(inputs=images, data_samples=samples)


def build(**kwargs):
    return MODELS.build(dict(type="mmext.RestorationDataPreprocessor", **kwargs))


@pytest.mark.parametrize(
    ("dtype", "peak"), [(torch.uint8, 255), (torch.uint16, 65535), (torch.float32, 1)]
)
def test_values_go_to_one(dtype, peak):
    image = torch.tensor([0, 0, peak]).view(3, 1, 1).to(dtype)
    unit = to_unit_rgb(image)
    assert unit.dtype == torch.float32
    assert unit.flatten().tolist() == [1, 0, 0]  # blue comes first in BGR
    assert to_unit_rgb(image, bgr_to_rgb=False).flatten().tolist() == [0, 0, 1]


def test_each_view_changes_its_own_order():
    image = torch.arange(6, dtype=torch.float32).view(6, 1, 1)
    assert to_unit_rgb(image).flatten().tolist() == [2, 1, 0, 5, 4, 3]


@pytest.mark.parametrize("image", [torch.zeros(3, 2, 2, dtype=torch.int64), torch.zeros(4, 2, 2)])
def test_other_images_are_refused(image):
    with pytest.raises(ValueError, match="expected"):
        to_unit_rgb(image)


def test_batch_is_stacked_with_its_targets():
    data = batch()
    out = build()(data)
    assert out["inputs"].shape == (4, 3, 8, 8)
    torch.testing.assert_close(out["inputs"][1], data["inputs"][1].flip(0) / 255)
    expected = data["data_samples"][1].gt_img.flip(0) / 255
    torch.testing.assert_close(out["data_samples"][1].gt_img, expected)
    assert data["data_samples"][1].gt_img.dtype == torch.uint8  # the loader's stays as it was


def test_unequal_sizes_stay_a_list_but_cannot_be_trained_on():
    data = batch(1) | dict(inputs=[torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)])
    assert isinstance(build()(data)["inputs"], list)
    with pytest.raises(ValueError, match="PairedRandomCrop"):
        build()(data, training=True)


def test_mixup_mixes_inputs_and_targets_alike():
    inputs, targets = torch.rand(6, 3, 4, 4), torch.zeros(6, 3, 4, 4)
    targets[:] = 10 * inputs + 1
    mixed, mixed_targets = mixup(inputs, targets, 1.2)
    torch.testing.assert_close(mixed_targets, 10 * mixed + 1)
    assert not torch.allclose(mixed, inputs)


def test_mixup_shares_are_beta():
    """Beta(1.2, 1.2) has mean 1/2 and variance 1/(4 (2 a + 1))."""
    inputs = torch.zeros(20000, 1, 1, 1)
    inputs[: len(inputs) // 2] = 1
    torch.manual_seed(0)
    mixed, _ = mixup(inputs, inputs, 1.2)
    between = mixed[(mixed > 0) & (mixed < 1)].numpy()
    assert len(between) == pytest.approx(10000, abs=300)  # a pair of unlike images, half of them
    assert between.mean() == pytest.approx(0.5, abs=0.01)
    assert between.var() == pytest.approx(1 / (4 * 3.4), abs=0.003)


@pytest.mark.parametrize(("epoch", "mixes"), [(0, False), (4, False), (5, True), (100, True)])
def test_mixup_begins_with_the_sixth_epoch(epoch, mixes):
    MessageHub.get_current_instance().update_info("epoch", epoch)
    preprocessor, data = build(mixup_alpha=1.2), batch()
    plain = build()(data, training=True)["inputs"]
    mixed = preprocessor(data, training=True)
    assert (not torch.equal(mixed["inputs"], plain)) == mixes
    torch.testing.assert_close(  # targets are half of the inputs, up to rounding
        torch.stack([s.gt_img for s in mixed["data_samples"]]),
        mixed["inputs"] / 2,
        atol=1 / 255,
        rtol=0,
    )
    np.testing.assert_array_equal(preprocessor(data)["inputs"], plain)  # never in testing
