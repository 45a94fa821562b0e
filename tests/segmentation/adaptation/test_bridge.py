"""Images of one domain in the colours of another, on tensors."""

import copy

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmext.segmentation.adaptation import LABBridge
from mmext.segmentation.adaptation.bridge import BridgingDataPreprocessor, bgr_to_lab, lab_to_bgr
from mmext.segmentation.datasets.style import lab_statistics_transfer


def photo(seed, size=(40, 60), low=0, high=256):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(low, high, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)


def array(image):
    return image.permute(1, 2, 0).numpy()


def test_lab_of_known_colours():
    """White, black, grey, and blue, green and red of sRGB under D65."""
    bgr = [[1, 1, 1], [0, 0, 0], [0.5] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    expected = [[100, 0, 0], [0, 0, 0], [53.39, 0, 0], [32.30, 79.19, -107.86]]
    expected += [[87.74, -86.18, 83.18], [53.24, 80.09, 67.20]]
    lab = bgr_to_lab(torch.tensor(bgr).T[:, None])[:, 0].T
    torch.testing.assert_close(lab, torch.tensor(expected), rtol=0, atol=0.02)


def test_lab_is_near_that_of_opencv_and_goes_back():
    """Over all of the cube, with its dark end; OpenCV's own way back is off by 1 of 255."""
    steps = np.r_[np.arange(0, 256, 17), 1, 2, 3, 5, 8].astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(len(steps), -1, 3)
    bgr = cube.astype(np.float32) / 255
    lab = bgr_to_lab(tensor(bgr))
    difference = np.abs(array(lab) - cv2.cvtColor(bgr, cv2.COLOR_BGR2LAB))
    assert difference.max() < 0.4
    assert difference.mean() < 0.1
    np.testing.assert_allclose(array(lab_to_bgr(lab)), bgr, atol=1e-5)


@pytest.mark.parametrize("options", [{}, dict(keep_lightness=True), dict(ratio_range=(0.9, 1.1))])
def test_equals_the_transform_of_data_sets(options):
    """But for OpenCV's tables and rounding to 8 bits, also with colours that have to be cut."""
    for seed, limits in enumerate(((0, 256), (90, 160), (0, 30))):
        image, reference = photo(seed, low=limits[0], high=limits[1]), photo(9, (30, 50))
        found = LABBridge(**options)(tensor(image), tensor(reference))
        expected = lab_statistics_transfer(image, reference, **options)
        assert found.dtype == torch.float32
        assert found.min() >= 0
        assert found.max() <= 255.01
        difference = np.abs(array(found) - expected)
        assert np.quantile(difference, 0.99) < 1.5  # its tables are coarse near black
        assert difference.mean() < 0.5


@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_without_colour_stay_finite(value):
    grey = torch.full((3, 20, 30), value, dtype=torch.uint8)
    for pair in ((grey, tensor(photo(1))), (tensor(photo(1)), grey), (grey, grey)):
        out = LABBridge()(*pair)
        assert out.isfinite().all()
        if pair[0] is grey:
            assert (out - out[:, :1, :1]).abs().max() < 1e-3


DOMAINS = dict(red="source", blue="target", dark="target")


def batch(size=(8, 12)):
    """Two images of each domain; those of red with labels."""
    inputs, samples = {}, {}
    for number, (name, role) in enumerate(DOMAINS.items()):
        inputs[name] = [tensor(photo(10 * number + k, size)) for k in range(2)]
        samples[name] = [SegDataSample(metainfo=dict(role=role, domain=name)) for _ in range(2)]
        for sample in samples[name] if role == "source" else ():
            sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, *size)))
    return dict(inputs=inputs, data_samples=samples)


def preprocessor(bridge=None, **changes):
    plain = dict(type="SegDataPreProcessor", mean=[0.0] * 3, std=[1.0] * 3, size_divisor=16)
    options = dict(default=plain, domains={}, bridge=bridge or LABBridge())
    return BridgingDataPreprocessor(**options | changes)


def test_views_are_those_of_image_and_reference_of_one_number():
    data = batch()
    raw = copy.deepcopy(data)
    out = preprocessor()(data, True)
    pairs = ["red>blue", "red>dark", "blue>dark", "dark>blue"]
    assert list(out["inputs"]) == list(out["data_samples"]) == ["blue", "dark", *pairs]
    for name in pairs:
        images, references = (raw["inputs"][part] for part in name.split(">"))
        for found, image, reference in zip(out["inputs"][name], images, references, strict=True):
            assert found.shape == (3, 16, 16)  # the padding comes after the colours
            torch.testing.assert_close(found[:, :8, :12], LABBridge()(image, reference))
            assert (found[:, 8:] == 0).all()
    assert torch.equal(out["inputs"]["blue"][0, :, :8, :12], raw["inputs"]["blue"][0].float())


def test_views_of_sources_have_their_labels_and_those_of_targets_none():
    data = batch()
    out = preprocessor()(data, True)["data_samples"]
    for name, samples in out.items():
        assert [sample.domain for sample in samples] == [name.partition(">")[0]] * 2
        assert all(("gt_sem_seg" in sample) == (name[0] == "r") for sample in samples)
    for target in ("blue", "dark"):
        for sample, before in zip(out[f"red>{target}"], data["data_samples"]["red"], strict=True):
            assert sample.gt_sem_seg.data.shape == (1, 16, 16)
            assert torch.equal(sample.gt_sem_seg.data[:, :8, :12], before.gt_sem_seg.data)
    assert out["red>blue"][0] is not out["red>dark"][0]


def test_views_are_preprocessed_as_their_style_is():
    other = dict(type="SegDataPreProcessor", mean=[0.0] * 3, std=[2.0] * 3, size_divisor=16)
    plain, own = (
        preprocessor(domains=domains)(batch(), True)["inputs"] for domains in ({}, dict(dark=other))
    )
    for name, images in own.items():
        factor = 2 if name.endswith("dark") else 1
        torch.testing.assert_close(factor * images, plain[name])


def test_views_that_nobody_needs_are_not_made():
    few = preprocessor(between_targets=False)(batch(), True)["inputs"]
    assert list(few) == ["blue", "dark", "red>blue", "red>dark"]
    fewer = preprocessor(between_targets=False, from_sources=False)(batch(), True)["inputs"]
    assert list(fewer) == ["blue", "dark"]


def test_without_a_bridge_views_are_the_images():
    data = batch((16, 16))
    raw = copy.deepcopy(data["inputs"])
    plain = dict(type="SegDataPreProcessor", mean=[0.0] * 3, std=[1.0] * 3, size_divisor=16)
    options = dict(default=MODELS.build(plain), domains={})
    out = BridgingDataPreprocessor(bridge=None, **options)(data, True)["inputs"]
    assert torch.equal(out["red>blue"], torch.stack(raw["red"]).float())


def test_batches_of_one_domain_pass_in_tests():
    part = {key: value["red"] for key, value in batch((16, 16)).items()}
    out = preprocessor()(part, False)
    assert out["inputs"].shape == (2, 3, 16, 16)
