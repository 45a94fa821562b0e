"""Exporting detectors: the file gives torch's outputs and detections; refusals name the remedy."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from tiny_networks import NETWORKS, tiny_network

from mmext.ops import _extension

needs_export = pytest.mark.skipif(
    not (_extension.LOADED and all(map(importlib.util.find_spec, ("onnxscript", "onnxruntime")))),
    reason="needs mmext._C and the packages of the export extra (pip install 'mmext[export]')",
)
SHAPE = (64, 96)


@pytest.fixture
def tool(load_tool):
    """The script as a module."""
    return load_tool("model_converters/export_onnx.py")


@pytest.fixture
def run(tool, tmp_path, monkeypatch):
    """Call the script on a small detector; the arguments replace parts of the command line."""

    def call(name="fast", *, model=None, state_dict=None, shape=SHAPE, options=()):
        config, checkpoint = tmp_path / "net.py", tmp_path / "net.pth"
        Config(dict(default_scope="mmdet", model=model or NETWORKS[name])).dump(config)
        torch.save(state_dict or dict(state_dict=tiny_network(name).state_dict()), checkpoint)
        target = tmp_path / "out" / "net.onnx"
        command = ["export_onnx.py", config, checkpoint, target, "--shape", *shape, *options]
        monkeypatch.setattr(sys, "argv", [str(word) for word in command])
        tool.main()
        return target

    return call


def detections(network, outputs, image):
    """Decode raw outputs, which come by name."""
    levels = {name: [] for name in network.names}
    for name, output in outputs.items():
        levels[name.rpartition("_")[0]].append(output)
    metas = [dict(img_shape=image.shape[2:], pad_shape=image.shape[2:])]
    maps = [maps for maps in levels.values() if maps]
    return network.model.bbox_head.predict_by_feat(*maps, batch_img_metas=metas)[0]


@needs_export
@pytest.mark.parametrize("name", ["fast", "full"])
@torch.no_grad()
def test_the_file_gives_the_outputs_and_detections_of_torch(tool, run, name, capsys):
    import onnxruntime

    target = run(name)
    assert list(target.parent.iterdir()) == [target]
    assert "largest difference from torch" in capsys.readouterr().out

    network = tool.RawNetwork(tiny_network(name))
    image = torch.randn(1, 3, *SHAPE)  # not the one of the export
    expected = network(image)
    levels = 2
    assert len(expected) == levels * (9 if name == "full" else 7)
    assert {"tl_cls_scores_0", "br_pts_refine_1", "sem_scores_1"} <= set(expected)
    for difference in tool.compare(target, image, expected):
        assert difference.value <= 1e-4 * max(difference.peak, 1)

    session = onnxruntime.InferenceSession(target)
    found = dict(
        zip(
            expected,
            map(torch.from_numpy, session.run(list(expected), {"image": image.numpy()})),
            strict=True,
        )
    )
    ours, theirs = (detections(network, outputs, image) for outputs in (expected, found))
    assert len(ours) > 0
    torch.testing.assert_close(theirs.bboxes, ours.bboxes, atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(theirs.scores, ours.scores, atol=1e-4, rtol=1e-4)


@needs_export
@torch.no_grad()
def test_the_triplet_detector_with_two_stacks(tool, run):
    target = run("triplet")
    network = tool.RawNetwork(tiny_network("triplet"))
    image = torch.randn(1, 3, *SHAPE)
    expected = network(image)
    assert len(expected) == 2 * 8
    assert {"tl_heats_0", "ct_offsets_1"} <= set(expected)
    for difference in tool.compare(target, image, expected):
        assert difference.value <= 1e-4 * max(difference.peak, 1)


@pytest.fixture
def fake_export(monkeypatch):
    """Let torch.onnx.export give a program that saves a few bytes."""
    program = SimpleNamespace(save=lambda path, external_data: path.write_bytes(b"new"))
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **kwargs: program)


@needs_export
@pytest.mark.usefixtures("fake_export")
def test_a_file_that_fails_the_check_replaces_nothing(tool, tmp_path, monkeypatch):
    target = tmp_path / "net.onnx"
    target.write_bytes(b"old")

    def fail(path, image, expected):
        assert path.read_bytes() == b"new"
        raise RuntimeError("ONNX Runtime differs")

    monkeypatch.setattr(tool, "compare", fail)
    with pytest.raises(RuntimeError, match="differs"):
        tool.export(tiny_network("fast"), target, SHAPE)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("wrong", [0.01, float("nan")])
def test_outputs_that_differ_are_named(tool, monkeypatch, wrong):
    exact, image = torch.ones(1, 2), torch.zeros(1, 3, 4, 4)
    session = SimpleNamespace(run=lambda names, inputs: [exact.numpy(), (exact + wrong).numpy()])
    runtime = SimpleNamespace(InferenceSession=lambda path, providers: session)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    with pytest.raises(RuntimeError, match=r"differs from torch: points_0 by") as caught:
        tool.compare("net.onnx", image, dict(scores_0=exact, points_0=exact))
    assert "scores_0" not in str(caught.value)


def test_without_onnxruntime_the_remedy_is_named(tool, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mmext\[export\]'"):
        tool.compare("net.onnx", torch.zeros(1), {})


def test_weights_of_another_model_are_refused(run):
    with pytest.raises(SystemExit, match=r"net\.pth is not a checkpoint of .*net\.py"):
        run(state_dict=dict(state_dict={"conv.weight": torch.zeros(2)}))


def test_an_unknown_type_names_the_config_key(run):
    model = NETWORKS["fast"] | dict(type="mmext.CenterNetPlus")
    with pytest.raises(SystemExit, match=r"model.*CenterNetPlus"):
        run(model=model)


def test_two_stage_detectors_are_refused(run):
    parts = dict.fromkeys(("rpn_head", "roi_head", "train_cfg", "test_cfg"))
    model = dict(type="FasterRCNN", backbone=NETWORKS["fast"]["backbone"], **parts)
    with pytest.raises(SystemExit, match="FasterRCNN is no single-stage detector"):
        run(model=model)


@pytest.mark.parametrize(
    ("divisor", "shape", "message"),
    [(32, (64, 90), "--shape 64 90: .* multiples of 32"), (1, (0, 64), "--shape 0 64")],
)
def test_shapes_that_the_preprocessor_never_gives_are_refused(tool, divisor, shape, message):
    model = tiny_network("triplet")
    model.data_preprocessor.pad_size_divisor = divisor
    with pytest.raises(ValueError, match=message):
        tool.sample_image(model, shape)


@needs_export
def test_shapes_that_the_network_cannot_take_are_refused(tool, tmp_path, monkeypatch):
    model = tiny_network("triplet")

    def forward(*args, **kwargs):
        raise RuntimeError("Sizes of tensors must match")

    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(ValueError, match=r"images of 62x64: Sizes .* multiples of its largest"):
        tool.export(model, tmp_path / "net.onnx", (62, 64))


def test_a_missing_config_is_named(tool, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py"):
        tool.build_model(str(tmp_path / "nowhere.py"), tmp_path / "net.pth", None, trust=False)
