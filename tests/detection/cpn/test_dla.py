"""DLA-34 and its neck: shapes, initialisation, sizes; the values are pinned by the golden tests."""

import pytest
import torch
from golden_parameters import official_cpn_shapes
from torch.nn import functional as F

from mmext.detection.cpn import DLA, DLAUp
from mmext.detection.cpn.dla_up import bilinear_kernel

CHANNELS = (4, 4, 8, 12, 16, 20)


def test_levels_and_gradients():
    model = DLA(CHANNELS, out_indices=(0, 1, 2, 3, 4, 5))
    outs = model(torch.randn(1, 3, 64, 96))
    assert [out.shape[1] for out in outs] == list(CHANNELS)
    assert [tuple(out.shape[2:]) for out in outs] == [(64 // 2**i, 96 // 2**i) for i in range(6)]
    sum(out.sum() for out in outs).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_levels_beyond_the_last_one_asked_for_are_not_built():
    names = {n.split(".")[0] for n, _ in DLA(CHANNELS, out_indices=(2, 3)).named_parameters()}
    assert names == {"base_layer", "level0", "level1", "level2", "level3"}


@pytest.mark.parametrize("size", [(64, 72), (100, 64)])
def test_images_that_cannot_be_halved_so_often(size):
    with pytest.raises(ValueError, match=r"multiples of 32 .*pad_size_divisor=32"):
        DLA(CHANNELS)(torch.zeros(1, 3, *size))


def test_training_images_of_511_pixels_will_do():
    outs = DLA(CHANNELS)(torch.zeros(1, 3, 63, 95))
    assert [tuple(out.shape[2:]) for out in outs] == [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize("settings", [dict(channels=(4, 4)), dict(out_indices=(5, 6))])
def test_levels_that_do_not_exist(settings):
    with pytest.raises(ValueError, match="DLA has levels 0 to 5"):
        DLA(**settings)


def test_the_authors_imagenet_file_loads(tmp_path):
    """Its tensors have the same names, and there are some for which there is no use."""
    source = DLA(CHANNELS)
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)
    file = source.state_dict() | {
        "level3.project.0.weight": torch.zeros(1),
        "fc.weight": torch.zeros(1),
        "fc.bias": torch.zeros(1),
    }
    torch.save(file, tmp_path / "dla34.pth")
    checkpoint = dict(type="Pretrained", checkpoint=str(tmp_path / "dla34.pth"))
    model = DLA(CHANNELS, init_cfg=checkpoint)
    model.init_weights()
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    official = {n.removeprefix("base."): s for n, s in official_cpn_shapes("dla34").items()}
    names = dict(DLA().named_parameters())
    assert {n: list(p.shape) for n, p in names.items()}.items() <= official.items()


def test_neck():
    neck = DLAUp((4, 8, 12, 16))
    maps = [torch.randn(2, c, 16 >> i, 24 >> i) for i, c in enumerate((4, 8, 12, 16))]
    (out,) = neck(maps)
    assert out.shape == (2, 4, 16, 24)
    out.sum().backward()
    assert [n for n, p in neck.named_parameters() if p.grad is None] == []
    with pytest.raises(ValueError, match="three maps or more"):
        DLAUp((4, 8))


@pytest.mark.parametrize("factor", [2, 4])
def test_enlarging_starts_as_linear_interpolation(factor):
    neck = DLAUp((3, 3, 3, 3))
    neck.init_weights()
    ups = [up for part in (*neck.rounds, neck.join) for up in part.up if up.stride[0] == factor]
    assert ups
    x = torch.randn(1, 3, 5, 6)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear")
    for up in ups:
        assert torch.equal(up.weight[0, 0], bilinear_kernel(factor))
        inner = (..., slice(factor, -factor), slice(factor, -factor))
        torch.testing.assert_close(up(x)[inner], expected[inner])
