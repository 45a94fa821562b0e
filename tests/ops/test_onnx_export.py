"""ONNX translations of the ops: ONNX Runtime gives what torch gives."""

import importlib
import sys

import pytest
import torch
from deform_conv_samples import SAMPLES, by_name
from torch import Tensor, nn

from mmext.ops import _extension, corner_pool, deform_conv2d

needs_export = pytest.mark.skipif(
    not (_extension.LOADED and all(map(importlib.util.find_spec, ("onnxscript", "onnxruntime")))),
    reason="needs mmext._C and the packages of the export extra (pip install 'mmext[export]')",
)
MODES = ("top", "bottom", "left", "right")
MAPS = {
    "odd": torch.Size((2, 3, 5, 7)),
    "power_of_two": torch.Size((1, 2, 8, 4)),
    "row": torch.Size((1, 2, 1, 6)),
    "column": torch.Size((1, 2, 6, 1)),
    "no_batch": torch.Size((9, 3)),
}


class AllCases(nn.Module):
    """Runs every sample of both ops, so that one export serves all tests."""

    def forward(self, samples: list[dict[str, Tensor]], maps: list[Tensor]) -> list[Tensor]:
        outputs = [
            deform_conv2d(**tensors, **sample.settings)
            for sample, tensors in zip(SAMPLES, samples, strict=True)
        ]
        return outputs + [corner_pool(x, mode) for x in maps for mode in MODES]


@pytest.fixture(scope="module")
def results() -> dict[str, tuple[Tensor, Tensor]]:
    """What ONNX Runtime and torch give for each case."""
    import onnxruntime

    from mmext.ops.onnx_export import OPSET_VERSION, onnx_translations

    make = torch.Generator().manual_seed(0)
    samples = [{name: value.detach() for name, value in s.tensors().items()} for s in SAMPLES]
    maps = {name: torch.randn(size, generator=make) for name, size in MAPS.items()}
    maps["negative_infinity"] = torch.full((1, 1, 3, 4), -torch.inf)
    maps["double"] = torch.randn(1, 2, 5, 3, generator=make, dtype=torch.float64)
    names = [s.name for s in SAMPLES] + [f"{name}-{mode}" for name in maps for mode in MODES]
    program = torch.onnx.export(
        AllCases().eval(),
        (samples, list(maps.values())),
        output_names=names,
        opset_version=OPSET_VERSION,
        custom_translation_table=onnx_translations(),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    tensors = [tensor for sample in samples for tensor in sample.values()] + list(maps.values())
    inputs = zip(session.get_inputs(), tensors, strict=True)
    found = session.run(names, {entry.name: tensor.numpy() for entry, tensor in inputs})
    expected = AllCases()(samples, maps.values())
    return {
        name: (torch.from_numpy(pair[0]), pair[1])
        for name, *pair in zip(names, found, expected, strict=True)
    }


@needs_export
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_deform_conv_equals_torch(results, sample):
    found, expected = results[sample.name]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@needs_export
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*MAPS, "negative_infinity", "double"])
def test_corner_pool_equals_torch(results, name, mode):
    found, expected = results[f"{name}-{mode}"]
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


@needs_export
def test_corner_pool_of_a_dynamic_size_is_refused():
    from mmext.ops.onnx_export import onnx_translations

    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return corner_pool(x, "left")

    with pytest.raises(RuntimeError) as caught:
        torch.onnx.export(
            Pool().eval(),
            (torch.zeros(1, 1, 4, 4),),
            custom_translation_table=onnx_translations(),
            dynamic_shapes=({3: torch.export.Dim("width")},),
            verbose=False,
        )
    assert "Export with a fixed height and width" in str(caught.value)


@needs_export
def test_without_compiled_ops_the_remedy_is_named(monkeypatch):
    from mmext.ops.onnx_export import onnx_translations

    monkeypatch.setattr(_extension, "LOADED", False)
    with pytest.raises(RuntimeError, match="make env"):
        onnx_translations()


def test_without_the_packages_the_remedy_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "mmext.ops.onnx_export", raising=False)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs onnxscript: pip install 'mmext\[export"):
        importlib.import_module("mmext.ops.onnx_export")
