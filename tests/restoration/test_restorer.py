import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import BaseDataElement
from tiny_restoration import TinyRestorationNet
from torch import nn

from mmext.registry import MODELS
from mmext.restoration.restorer import pad_to_multiple


def restorer(**kwargs):
    cfg = dict(type="mmext.ImageRestorer", generator=dict(type="TinyRestorationNet")) | kwargs
    return MODELS.build(cfg).eval()


class Halving(nn.Module):
    """Shrinks and enlarges by ``factor``; refuses sides that it does not divide."""

    def __init__(self, factor: int = 8) -> None:
        super().__init__()
        self.factor = factor
        self.seen = []

    def forward(self, image):
        self.seen.append(tuple(image.shape[-2:]))
        assert [side % self.factor for side in image.shape[-2:]] == [0, 0]
        return image


def samples(count, size=(16, 16)):
    return [
        BaseDataElement(gt_img=torch.rand(3, *size), metainfo=dict(img_path=f"{i}.png"))
        for i in range(count)
    ]


def test_tensor_is_the_networks_output():
    model, image = restorer(), torch.rand(2, 3, 20, 24)
    torch.testing.assert_close(model(image), model.generator(image))


def test_predict_clamps_and_keeps_sizes():
    model = restorer(generator=dict(type="TinyRestorationNet", channels=4))
    nn.init.constant_(model.generator[-1].bias, 0.7)
    images = [torch.rand(3, 20, 24), torch.rand(3, 31, 9)]
    predicted = model(images, samples(2), mode="predict")
    for image, sample in zip(images, predicted, strict=True):
        assert sample.pred_img.shape == image.shape
        assert sample.pred_img.max() == 1
        torch.testing.assert_close(sample.pred_img, model(image[None])[0].clamp(0, 1))
    assert model(torch.rand(1, 3, 8, 8), mode="predict")[0].pred_img.shape == (3, 8, 8)


def test_predict_tiles():
    model = restorer(test_cfg=dict(tile=16, overlap=8))
    image = torch.rand(1, 3, 40, 24)
    seen = []
    model.generator.register_forward_hook(lambda m, i, out: seen.append(tuple(out.shape[-2:])))
    calls = []
    tiled = model.predict(image, progress=lambda *call: calls.append(call))[0].pred_img
    assert set(seen) == {(16, 16)}
    assert calls[-1] == (len(seen), len(seen))
    whole = model(image)[0].clamp(0, 1)
    torch.testing.assert_close(tiled[:, 2:6, 2:6], whole[:, 2:6, 2:6], atol=0.05, rtol=0)


@pytest.mark.parametrize("mode", ["reflect", "square_zero"])
def test_sides_are_padded_and_cut_back(mode):
    model = restorer(test_cfg=dict(pad_multiple=8, pad_mode=mode))
    model.generator = Halving()
    image = torch.rand(1, 3, 20, 30)
    torch.testing.assert_close(model(image), image)
    assert model.generator.seen == [(24, 32) if mode == "reflect" else (32, 32)]


def test_official_square():
    padded, (rows, columns) = pad_to_multiple(torch.ones(1, 1, 5, 10), 8, "square_zero")
    assert padded.shape == (1, 1, 16, 16)
    assert padded.sum() == 50
    assert (rows, columns) == (slice(5, 10), slice(3, 13))
    assert padded[..., rows, columns].min() == 1


def test_reflection_and_its_limit():
    row = torch.arange(6.0).expand(1, 1, 6, 6)
    padded, _ = pad_to_multiple(row, 8)
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]
    padded, _ = pad_to_multiple(row[..., :2, :], 8)  # six rows cannot be mirrored from two
    assert padded.shape == (1, 1, 8, 8)
    image = torch.rand(1, 3, 8, 16)
    assert pad_to_multiple(image, 8)[0] is image


def test_losses_are_named_and_added():
    model = restorer(
        losses=dict(
            loss_pixel=dict(type="torch.nn.L1Loss"),
            loss_frequency=dict(type="mmext.FrequencyLoss", loss_weight=0.1),
        )
    )
    losses = model(torch.rand(2, 3, 16, 16), samples(2), mode="loss")
    total, log_vars = model.parse_losses(losses)
    assert set(log_vars) == {"loss", "loss_pixel", "loss_frequency"}
    assert total.item() == pytest.approx(sum(v.item() for v in losses.values()))


def test_the_default_loss_is_charbonnier():
    model, data = restorer(), samples(1)
    image = torch.rand(1, 3, 16, 16)
    ((name, value),) = model(image, data, mode="loss").items()
    difference = model.generator(image)[0] - data[0].gt_img
    assert name == "loss_charbonnier"
    assert value.item() == pytest.approx((difference**2 + 1e-6).sqrt().mean().item())


def test_nan_names_iteration_and_images():
    model = restorer()
    nn.init.constant_(model.generator[0].bias, float("nan"))
    MessageHub.get_current_instance().update_info("iter", 41)
    with pytest.raises(
        FloatingPointError, match=r"loss_charbonnier is nan at iteration 42.*0\.png, 1\.png.*lr"
    ):
        model(torch.rand(2, 3, 16, 16), samples(2), mode="loss")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(test_cfg=dict(tiles=3)), r"model\.test_cfg is .*'tile'"),
        (dict(test_cfg=dict(pad_mode="zero")), "'square_zero'"),
        (dict(losses=dict(pixel=dict(type="torch.nn.L1Loss"))), "contain 'loss'"),
    ],
)
def test_wrong_options_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        restorer(**kwargs)


def test_unknown_mode():
    with pytest.raises(ValueError, match="'tensor', 'loss' or 'predict'"):
        restorer()(torch.rand(1, 3, 8, 8), mode="train")


def test_any_registered_network_will_do():
    assert isinstance(restorer().generator, TinyRestorationNet)
