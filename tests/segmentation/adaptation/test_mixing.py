"""Masks of mixed images, and strong augmentation of what is in a batch already."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, TRANSFORMS
from mmseg.models import SegDataPreProcessor

from mmext.segmentation.adaptation.mixing import (
    StrongAugmentation,
    class_mask,
    mixed,
    rectangle_mask,
)


def test_half_of_the_classes_of_each_image_are_chosen_as_wholes():
    torch.manual_seed(0)
    labels = torch.randint(0, 7, (4, 8, 8))
    labels[1] = torch.randint(2, 4, (8, 8))
    labels[2] = 5
    labels[:, 0] = 255
    seen = set()
    for _ in range(30):
        mask = class_mask(labels, 7)
        for image, part in zip(labels, mask, strict=True):
            present = set(image.unique().tolist()) - {255}
            chosen = set(image[part].unique().tolist())
            assert len(chosen) == (len(present) + 1) // 2
            assert not set(image[~part].unique().tolist()) & chosen
            assert chosen <= present
        seen |= set(labels[0][mask[0]].unique().tolist())
    assert seen == set(range(7))


def test_an_image_without_labels_gives_nothing():
    assert not class_mask(torch.full((1, 3, 3), 255), 4).any()


def test_rectangles_have_half_the_area():
    torch.manual_seed(0)
    mask = rectangle_mask(500, (48, 96), torch.device("cpu"))
    assert mask.shape == (500, 48, 96)
    share = mask.float().mean((1, 2))
    assert (share - 0.5).abs().max() < 0.02
    heights, widths = mask.any(2).sum(1), mask.any(1).sum(1)
    assert torch.equal(heights * widths, mask.sum((1, 2)))  # without holes
    assert heights.min() >= 24
    assert widths.min() >= 48
    assert len(heights.unique()) > 10
    assert mask.any(0).all()  # any place


def test_mixed_takes_images_and_labels_alike():
    mask = torch.tensor([[[True, False]]])
    inside, outside = torch.ones(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    torch.testing.assert_close(mixed(mask, inside, outside)[0, 1, 0], torch.tensor([1.0, 0.0]))
    assert mixed(mask, inside[:, 0], outside[:, 0]).tolist() == [[[1, 0]]]
    with pytest.raises(ValueError, match=r"RandomCrop with the same crop_size.*train_dataloader"):
        mixed(mask, inside, torch.zeros(1, 3, 2, 2))


@pytest.fixture
def preprocessor():
    return SegDataPreProcessor(
        mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 8.0], bgr_to_rgb=True, size_divisor=1
    )


class Seen:
    def __init__(self):
        self.pictures = []

    def __call__(self, results):
        self.pictures.append(results["img"].copy())
        results["img"] = 255 - results["img"]
        return results


def test_transforms_see_the_bytes_of_the_image(preprocessor):
    pictures = torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8)
    images = preprocessor(dict(inputs=[*pictures], data_samples=None), False)["inputs"]
    seen = Seen()
    changed = StrongAugmentation([seen])(images, preprocessor)
    for picture, found in zip(pictures, seen.pictures, strict=True):
        assert np.array_equal(found, picture.permute(1, 2, 0).numpy())
    expected = preprocessor(dict(inputs=[*(255 - pictures)], data_samples=None), False)["inputs"]
    torch.testing.assert_close(changed, expected)
    assert StrongAugmentation([])(images, preprocessor) is images


def test_transforms_of_mmseg_change_colours_only(preprocessor):
    images = torch.randn(2, 3, 8, 8)
    strong = [
        dict(type="PhotoMetricDistortion"),
        dict(type="mmext.RandomGaussianBlur", prob=1.0),
    ]
    assert StrongAugmentation(strong)(images, preprocessor).shape == images.shape
    smaller = StrongAugmentation([dict(type="Resize", scale=(4, 4))])
    with pytest.raises(ValueError, match=r"model\.strong_augmentation makes images of \(4, 4, 3\)"):
        smaller(images, preprocessor)


def test_blur():
    image = np.zeros((9, 9, 3), np.uint8)
    image[4, 4] = 255
    blur = TRANSFORMS.build(dict(type="mmext.RandomGaussianBlur", prob=1.0, sigma=(1.0, 1.0)))
    found = blur(dict(img=image.copy()))["img"]
    assert found[4, 4, 0] == pytest.approx(255 / (2 * np.pi), abs=2)
    assert found[4, 5, 0] == found[5, 4, 0] > 0
    never = TRANSFORMS.build(dict(type="mmext.RandomGaussianBlur", prob=0.0))
    assert np.array_equal(never(dict(img=image.copy()))["img"], image)
    with pytest.raises(ValueError, match=r"RandomGaussianBlur\.sigma is \(2\.0, 1\.0\)"):
        TRANSFORMS.build(dict(type="mmext.RandomGaussianBlur", sigma=(2.0, 1.0)))


def test_preprocessors_are_found_by_domain():
    plain = dict(type="SegDataPreProcessor", mean=[0.0] * 3, std=[1.0] * 3)
    parts = MODELS.build(
        dict(type="mmext.MultiDomainDataPreprocessor", default=plain, domains=dict(day=plain))
    )
    assert parts.of_domain("day") is parts.domains["day"]
    assert parts.of_domain("night") is parts.default
