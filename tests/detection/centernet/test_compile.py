"""torch.compile takes backbone, neck and head as one graph, with the same values and gradients."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tiny_networks import tiny_network
from torch import Tensor, nn

from mmext.engine import import_host
from mmext.ops import _extension
from mmext.registry import MODELS

pytestmark = pytest.mark.skipif(
    not _extension.LOADED, reason="mmext._C is not built, and the references break the graph"
)
TREES = "configs/centernetpp/centernetpp-fast_efflite0_fpn_trees.py"


@pytest.fixture(autouse=True)
def _forget_compiled_code():
    yield
    torch._dynamo.reset()


def raw_outputs(model: nn.Module, image: Tensor) -> list[Tensor]:
    return [level for levels in model(image, mode="tensor") for level in levels]


def compiled_outputs(model: nn.Module, image: Tensor, backend: str) -> list[Tensor]:
    """Run the compiled network; an interruption of the graph is an error."""
    return torch.compile(raw_outputs, fullgraph=True, backend=backend)(model, image)


@pytest.mark.parametrize("name", ["fast", "triplet", "cpn"])
def test_values_are_those_of_eager(name):
    model = tiny_network(name)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(
            compiled_outputs(model, image, "eager"), raw_outputs(model, image)
        )


def test_values_and_gradients_are_those_of_eager():
    model = tiny_network("full")
    image = torch.randn(1, 3, 64, 96)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    results = []
    for outputs in (raw_outputs(model, image), compiled_outputs(model, image, "aot_eager")):
        loss = sum(output.square().mean() for output in outputs)
        grads = torch.autograd.grad(loss, parameters.values(), allow_unused=True)
        results.append((outputs, dict(zip(parameters, grads, strict=True))))
    torch.testing.assert_close(*results)
    assert results[0][1]["bbox_head.branches.tl.cls_convs.0.conv.conv_offset.weight"].any()


def test_the_network_of_the_demo_compiles(repo_root: Path):
    cfg = Config.fromfile(repo_root / TREES)
    cfg.model.backbone.init_cfg = None
    import_host(cfg.default_scope)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            compiled_outputs(model, image, "eager"), raw_outputs(model, image)
        )


def test_inductor_gives_the_values_of_eager():
    head = tiny_network("fast").bbox_head
    level = torch.randn(1, 16, 8, 8)
    with torch.no_grad():
        expected = head.forward_single(level)
        found = torch.compile(head.forward_single, fullgraph=True)(level)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
