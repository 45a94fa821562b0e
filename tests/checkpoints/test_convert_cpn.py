import pytest
import torch
from golden_parameters import official_cpn_shapes
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmext.checkpoints.convert import ConversionError, convert_checkpoint
from mmext.checkpoints.cpn import convert_cpn
from mmext.registry import MODELS

# Tensors of the official model, and those of them that it never runs.
COUNTS = {"dla34": (466, 16), "hg52": (648, 4), "hg104": (1292, 4)}
CONFIGS = {"dla34": "dla34", "hg52": "hourglass52", "hg104": "hourglass104"}


def without_values(network: str) -> dict[str, torch.Tensor]:
    """The official names and shapes, each tensor one number that is its place in the list."""
    shapes = official_cpn_shapes(network)
    return {n: torch.tensor(float(i)).expand(shape) for i, (n, shape) in enumerate(shapes.items())}


@pytest.mark.parametrize("network", COUNTS)
def test_every_tensor_finds_its_place_in_the_config_s_model(repo_root, network):
    official = {f"module.{name}": t for name, t in without_values(network).items()}
    conversion = convert_cpn(official)
    assert conversion.unknown == conversion.absent == []
    cfg = Config.fromfile(repo_root / "configs" / "cpn" / f"cpn_{CONFIGS[network]}_coco.py")
    init_default_scope("mmdet")
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    expected = model.state_dict()
    assert conversion.state_dict.keys() == expected.keys()
    for name, tensor in conversion.state_dict.items():
        assert tensor.shape == expected[name].shape, name
    places = {float(t.flatten()[0]) for t in conversion.state_dict.values()}
    assert (len(official), len(official) - len(places)) == COUNTS[network]


@pytest.mark.parametrize(
    ("network", "theirs", "ours"),
    [
        ("hg104", "kps.1.low2.skip.0.weight", None),
        ("hg104", "groupings.1.bn2.weight", "bbox_head.groupings.1.features.4.weight"),
        ("hg104", "regions.0.conv2.bn.bias", "bbox_head.regions.0.features.3.bn.bias"),
        ("hg52", "region_reduces.0.3.bias", "bbox_head.regions.0.out.bias"),
        ("hg52", "grouping_reduces.0.1.running_var", "bbox_head.groupings.0.reduce.bn.running_var"),
        ("dla34", "region_reduces.0.0.bias", "bbox_head.regions.0.reduce.conv.bias"),
        ("dla34", "br_cnvs.0.P1_look_conv.weight", "bbox_head.pools.0.br.inner_first.weight"),
        ("dla34", "tl_regrs.0.1.bias", "bbox_head.offsets.0.tl.1.bias"),
        ("dla34", "base.level3.tree2.root.bn.bias", "backbone.level3.tree2.root.bn.bias"),
        ("dla34", "dla_up.ida_2.proj_3.actf.0.weight", "neck.rounds.2.proj.2.bn.weight"),
        ("dla34", "ida_up.up_2.weight", "neck.join.up.1.weight"),
        ("dla34", "base.level4.project.0.weight", None),
        ("dla34", "bbox_head.fc_cls.bias", None),
    ],
)
def test_names_by_hand(network, theirs, ours):
    official = without_values(network)
    converted = convert_cpn(official).state_dict
    if ours is None:
        assert all(tensor is not official.get(theirs) for tensor in converted.values())
    else:
        assert converted[ours] is official[theirs]


@pytest.mark.parametrize(
    ("network", "lost"),
    [
        ("dla34", "base.level5.project.1.running_mean"),
        ("dla34", "dla_up.ida_1.up_2.weight"),
        ("hg52", "groupings.0.bn1.bias"),
        ("hg104", "region_reduces.1.0.weight"),
    ],
)
def test_a_missing_tensor_is_named(network, lost):
    official = without_values(network)
    del official[lost]
    (absent,) = convert_cpn(official).absent
    assert absent.replace("\\", "") == lost


def test_another_model_is_refused(tmp_path):
    official = without_values("dla34") | {"extra.weight": torch.zeros(1)}
    torch.save(official, tmp_path / "a.pth")
    with pytest.raises(ConversionError, match=r"unknown tensor: extra\.weight"):
        convert_checkpoint("cpn", tmp_path / "a.pth", tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()
