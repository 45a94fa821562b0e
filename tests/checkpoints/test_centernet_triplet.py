import pytest
import torch
from golden_parameters import official_triplet_shapes
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmext.checkpoints.centernet_triplet import convert_centernet_triplet
from mmext.checkpoints.convert import ConversionError, convert_checkpoint
from mmext.registry import MODELS

COUNTS = {52: 630, 104: 1260}


def without_values(layers: int) -> dict[str, torch.Tensor]:
    """The official names and shapes, each tensor one number that is its place in the list."""
    shapes = official_triplet_shapes(layers // 52)
    return {n: torch.tensor(float(i)).expand(shape) for i, (n, shape) in enumerate(shapes.items())}


@pytest.mark.parametrize("layers", COUNTS)
def test_every_tensor_finds_its_place_in_the_config_s_model(repo_root, layers):
    official = {f"module.{name}": t for name, t in without_values(layers).items()}
    assert len(official) == COUNTS[layers]
    conversion = convert_centernet_triplet(official)
    assert conversion.unknown == conversion.absent == []
    folder = repo_root / "configs" / "centernet_triplet"
    cfg = Config.fromfile(folder / f"centernet-triplet_hourglass{layers}_coco.py")
    init_default_scope("mmdet")
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    expected = model.state_dict()
    assert conversion.state_dict.keys() == expected.keys()
    for name, tensor in conversion.state_dict.items():
        assert tensor.shape == expected[name].shape, name
    assert len({float(t.flatten()[0]) for t in conversion.state_dict.values()}) == COUNTS[layers]


def test_names_by_hand():
    official = without_values(104)
    converted = convert_centernet_triplet(official).state_dict
    same = {
        "pre.0.bn.running_var": "backbone.stem.0.bn.running_var",
        "pre.1.skip.1.bias": "backbone.stem.1.0.downsample.1.bias",
        "kps.1.low2.low3.1.skip.0.weight": (
            "backbone.hourglass_modules.1.low2.low3.1.downsample.0.weight"
        ),
        "kps.0.low2.low2.low2.low2.low2.3.bn2.weight": (
            "backbone.hourglass_modules.0.low2.low2.low2.low2.low2.3.bn2.weight"
        ),
        "inters.0.conv2.weight": "backbone.inters.0.conv2.weight",
        "inters_.0.0.weight": "backbone.conv1x1s.0.conv.weight",
        "cnvs_.0.1.bias": "backbone.remap_convs.0.bn.bias",
        "cnvs.1.conv.weight": "backbone.out_convs.1.conv.weight",
        "tl_cnvs.1.P2_look_conv.weight": "bbox_head.pools.1.tl.inner_second.weight",
        "br_cnvs.0.look_conv1.bn.bias": "bbox_head.pools.0.br.look_first.bn.bias",
        "ct_cnvs.0.p_bn1.weight": "bbox_head.pools.0.ct.merge.bn.weight",
        "ct_cnvs.1.conv1.weight": "bbox_head.pools.1.ct.shortcut.conv.weight",
        "ct_heats.1.1.bias": "bbox_head.heats.1.ct.1.bias",
        "br_tags.0.0.conv.weight": "bbox_head.tags.0.br.0.conv.weight",
        "tl_regrs.0.1.weight": "bbox_head.offsets.0.tl.1.weight",
    }
    for theirs, ours in same.items():
        assert converted[ours] is official[theirs], ours


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("tl_cnvs.0.P1_look_conv.weight", "P1_look_conv"),
        ("ct_heats.0.1.bias", "ct_heats"),
        ("pre.0.bn.running_mean", "running_mean"),
    ],
)
def test_a_missing_tensor_is_named(lost, named):
    official = without_values(52)
    del official[lost]
    absent = convert_centernet_triplet(official).absent
    assert len(absent) == 1
    assert named in absent[0]


def test_another_model_is_refused(tmp_path):
    torch.save({"module.base.level0.0.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ConversionError, match=r"unknown tensor: base\.level0\.0\.weight"):
        convert_checkpoint("centernet-triplet", tmp_path / "a.pth", tmp_path / "b.pth")
