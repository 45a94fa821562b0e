"""RotatedIoULoss: values, mmrotate's arguments, weights, precision, refusals, Rotated FCOS."""

import math

import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from rotated_boxes import horizontal, ordinary_pairs, value_and_grad

from mmext.engine import import_host
from mmext.ops import rotated_iou
from mmext.ops.rotated_iou import rotated_iou_reference
from mmext.rotated import RotatedIoULoss, rotated_iou_loss

MODES = ("linear", "square", "log")
each_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def mmrotates(monkeypatch):
    """mmrotate's loss, with our slow IoU in the place of mmcv's, which does not run on a CPU."""
    import_host("mmrotate")
    from mmrotate.models.losses import rotated_iou_loss as module

    def iou(pred, target):
        return rotated_iou_reference(pred[0], target[0])[None]

    monkeypatch.setattr(module, "diff_iou_rotated_2d", iou)
    return module.RotatedIoULoss


@pytest.mark.parametrize(
    ("mode", "expected"), [("linear", 2 / 3), ("square", 8 / 9), ("log", math.log(3))]
)
def test_by_hand(mode, expected):
    pred, target = torch.tensor([[0.0, 0, 2, 2, 0]]), torch.tensor([[1.0, 0, 2, 2, 0]])
    torch.testing.assert_close(RotatedIoULoss(mode=mode)(pred, target), torch.tensor(expected))
    torch.testing.assert_close(rotated_iou_loss(pred, target, mode=mode), torch.tensor(expected))


@each_mode
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("kind", ["no weight", "weight", "five weights", "no positive"])
def test_arguments_are_mmrotates(kind, reduction, mode, mmrotates):
    pred, target = ordinary_pairs()
    weight = torch.rand(len(pred), dtype=torch.float64)
    weight[::3] = 0
    if kind == "no weight":
        weight = None
    elif kind == "five weights":
        weight = weight[:, None].repeat(1, 5)
    elif kind == "no positive":
        weight = 0 * weight
    options = dict(mode=mode, loss_weight=2.5, eps=0.02)
    for avg_factor in (None, 70.0) if reduction == "mean" else (None,):
        calls = [
            value_and_grad(loss(reduction=reduction, **options), pred, target, weight, avg_factor)
            for loss in (RotatedIoULoss, mmrotates)
        ]
        torch.testing.assert_close(*calls)
        overridden = RotatedIoULoss(**options)(
            pred, target, weight, avg_factor=avg_factor, reduction_override=reduction
        )
        torch.testing.assert_close(overridden, calls[0][0])


def test_linear_is_a_mode():
    pred, target = ordinary_pairs(20)
    loss = RotatedIoULoss(linear=True)(pred, target)
    assert loss.equal(RotatedIoULoss(mode="linear")(pred, target))


@each_mode
def test_rows_of_weight_0_count_for_nothing(mode):
    pred, target = ordinary_pairs(50)
    weight = (torch.arange(50) % 4 == 0).double()
    kept = weight > 0
    loss = RotatedIoULoss(mode=mode, reduction="sum")
    expected, gradient = value_and_grad(loss, pred, target, weight)
    broken = pred.detach().clone()
    broken[~kept] = torch.tensor([torch.nan, torch.inf, -1, 0, 1e30], dtype=torch.float64)
    target[~kept] = 0
    value, broken_gradient = value_and_grad(loss, broken.requires_grad_(), target, weight)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(broken_gradient[kept], gradient[kept])
    assert broken_gradient[~kept].eq(0).all()
    torch.testing.assert_close(expected, loss(pred[kept], target[kept]).detach())


@each_mode
def test_equal_boxes_cost_nothing(mode):
    _, target = ordinary_pairs(dtype=torch.float32)
    value, gradient = value_and_grad(
        RotatedIoULoss(mode=mode), target.clone().requires_grad_(), target
    )
    assert value == 0
    assert gradient.abs().max() < 1e-6


def test_boxes_apart_have_a_finite_loss():
    pred = torch.tensor([[0.0, 0, 2, 2, 0]], requires_grad=True)
    value, gradient = value_and_grad(RotatedIoULoss(), pred, torch.tensor([[9.0, 0, 2, 2, 0]]))
    torch.testing.assert_close(value, -torch.tensor(1e-6).log())
    assert gradient.eq(0).all()


def test_a_flat_prediction_grows():
    target = torch.tensor([[0.0, 0, 20, 10, 0.3]]).repeat(3, 1)
    pred = target.clone()
    pred[:, 2:4] = torch.tensor([[0.0, 10], [20, 0], [-3, 10]])
    _, gradient = value_and_grad(RotatedIoULoss(), pred.requires_grad_(), target)
    assert (gradient[[0, 1, 2], [2, 3, 2]] < 0).all()


@each_mode
def test_nothing_to_learn_from(mode):
    pred = torch.zeros(0, 5, requires_grad=True)
    value, gradient = value_and_grad(RotatedIoULoss(mode=mode), pred, pred.detach())
    assert value == 0
    assert gradient.shape == (0, 5)
    assert RotatedIoULoss(mode=mode, reduction="none")(pred, pred).shape == (0,)
    pred, target = ordinary_pairs(10)
    value, gradient = value_and_grad(RotatedIoULoss(mode=mode), pred, target, torch.zeros(10), 1.0)
    assert value == 0
    assert gradient.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast(dtype):
    pred, target = ordinary_pairs(50, torch.float32)
    expected = RotatedIoULoss()(pred.to(dtype).float(), target.to(dtype).float())
    half = pred.detach().to(dtype).requires_grad_()
    value, gradient = value_and_grad(RotatedIoULoss(), half, target.to(dtype))
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(value, expected.detach())
    with torch.autocast("cpu", dtype):
        cast = RotatedIoULoss()(pred, target)
    assert cast.equal(RotatedIoULoss()(pred, target))


@pytest.mark.parametrize("weighted", [False, True])
def test_compiles_without_graph_breaks(weighted):
    pred, target = ordinary_pairs(30, torch.float32)
    weight = (torch.arange(30) % 2).float() if weighted else None
    loss = RotatedIoULoss()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        value_and_grad(compiled, pred, target, weight), value_and_grad(loss, pred, target, weight)
    )


def test_bad_input_is_explained():
    pred, target = ordinary_pairs(4)
    loss = RotatedIoULoss()
    with pytest.raises(ValueError, match="reg_decoded_bbox"):
        loss(pred, -target)
    with pytest.raises(ValueError, match="prediction in row 1 is not finite"):
        loss(pred.detach().index_fill(0, torch.tensor([1]), torch.nan), target)
    with pytest.raises(ValueError, match="looks like degrees"):
        loss(pred, target + torch.tensor([0, 0, 0, 0, 90.0]))
    with pytest.raises(ValueError, match="same shape"):
        loss(pred, target[:3])
    with pytest.raises(ValueError, match=r"must be \(N, 5\)"):
        loss(horizontal(pred), horizontal(target))
    with pytest.raises(ValueError, match="weight must have the shape"):
        loss(pred, target, torch.ones(3))
    with pytest.raises(ValueError, match="mode must be one of linear, square, log, got 'exp'"):
        RotatedIoULoss(mode="exp")
    with pytest.raises(ValueError, match="reduction must be one of"):
        RotatedIoULoss(reduction="max")


def test_takes_box_types():
    import_host("mmrotate")
    from mmrotate.structures.bbox import RotatedBoxes

    pred, target = ordinary_pairs(8, torch.float32)
    expected = RotatedIoULoss()(pred, target)
    assert RotatedIoULoss()(RotatedBoxes(pred), RotatedBoxes(target)).equal(expected)


def test_descent_finds_the_target():
    target = torch.tensor([[50.0, 40, 60, 12, 0.9]])
    pred = torch.tensor([[46.0, 43, 40, 20, 0.5]], requires_grad=True)
    loss, optimizer = RotatedIoULoss(), torch.optim.Adam([pred], lr=0.3)
    for _ in range(400):
        optimizer.zero_grad()
        loss(pred, target).backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.99
    assert rotated_iou(pred, target).item() > 0.97


def test_mmrotates_rotated_fcos_trains_on_a_cpu():
    """Its config as the wheel has it stops in mmcv's IoU; with our loss it does not."""
    import_host("mmrotate")
    from mmdet.testing import demo_mm_inputs

    cfg = get_config("mmrotate::rotated_fcos/rotated-fcos-le90_r50_fpn_1x_dota.py")
    cfg.model.backbone.update(depth=18, init_cfg=None)
    cfg.model.neck.in_channels = [64, 128, 256, 512]
    packed = demo_mm_inputs(2, [[3, 64, 64]] * 2, num_classes=15, use_box_type=True)
    for sample in packed["data_samples"]:
        boxes = sample.gt_instances.bboxes.convert_to("rbox")
        boxes.tensor[:, 4] = torch.linspace(-1.5, 1.5, len(boxes))
        sample.gt_instances.bboxes = boxes

    def step(kind):
        cfg.model.bbox_head.loss_bbox.type = kind
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope("mmrotate"):
            model = MODELS.build(cfg.model)
            model.init_weights()
            losses = model(**model.data_preprocessor(packed, training=True), mode="loss")
        total, log_vars = model.parse_losses(losses)
        total.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
        return log_vars["loss_bbox"], model.bbox_head.conv_angle.weight.grad.abs().sum()

    loss, angle_gradient = (value.item() for value in step("mmext.RotatedIoULoss"))
    assert math.isfinite(loss)
    assert loss > 0
    assert angle_gradient > 0
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, NotImplementedError), match="cpu"):
            step("RotatedIoULoss")
