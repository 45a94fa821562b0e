"""BDL's schedule as one training: stages, what they hand on, stopping anywhere, a stage alone."""

import copy
import json
import multiprocessing
import os
import shutil
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from tiny_segmentation import tiny_config

from mmext.engine import Runner
from mmext.registry import SCHEDULES
from mmext.segmentation import pseudo_labels
from mmext.segmentation.adaptation import bdl_schedule, stage_configs, translating

NAMES = [
    *("k1-translator", "k1-translate", "k1-i0-segmentor", "k1-i1-labels", "k1-i1-segmentor"),
    *("k2-translator", "k2-translate", "k2-i0-segmentor", "k2-i1-labels", "k2-i1-segmentor"),
]


def scheduled(domains: Path, work_dir: Path, **options: object) -> Config:
    """Return the tiny config with a schedule: four iterations for each training, two saved."""
    cfg = tiny_config(domains, work_dir)
    generator = dict(type="mmext.CycleGANGenerator", base_channels=4, num_blocks=1)
    discriminator = dict(type="mmext.PatchDiscriminator", base_channels=4, num_layers=1)
    adam = dict(optimizer=dict(type="Adam", lr=1e-3))
    flip = dict(type="RandomFlip", prob=0.5)
    cfg.train_dataloader.dataset.targets.blue.pipeline.insert(1, flip)
    cfg.schedule = dict(
        type="mmext.BDLSchedule",
        outer=2,
        inner=1,
        translator=dict(
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="RandomCrop", crop_size=(24, 32)),
                dict(type="PackSegInputs"),
            ],
            model=dict(
                _delete_=True,
                type="mmext.ImageTranslator",
                generators=dict(a2b=generator, b2a=generator),
                discriminators=dict(a=discriminator, b=discriminator),
                semantic=dict(type="mmext.SemanticTerm"),
                pool_size=2,
            ),
            optim_wrapper=dict(
                _delete_=True,
                constructor="mmext.MultiOptimWrapperConstructor",
                generators=adam,
                discriminators=adam,
            ),
        ),
        self_training=dict(train_cfg=dict(max_iters=5)),
        **options,
    )
    cfg.launcher = "none"
    return cfg


def run(cfg: Config, only: str | None = None, *, resume: bool = False) -> Path:
    cfg = copy.deepcopy(cfg)
    cfg.resume = resume
    return SCHEDULES.build(cfg.schedule).run(cfg, only)


def contents(folder: Path) -> dict[str, object]:
    """Return the weights, images and figures of every stage."""
    found: dict[str, object] = {}
    for name in NAMES:
        for path in sorted((folder / name).rglob("*")):
            key = path.relative_to(folder).as_posix()
            if path.suffix == ".pth":
                found[key] = torch.load(path, weights_only=False)["state_dict"]
            elif path.suffix == ".png" or path.name in ("figures.json", "pseudo_labels.json"):
                found[key] = path.read_bytes()
    return found


def assert_same(ours: dict[str, object], theirs: dict[str, object]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        if isinstance(value, dict):
            for name, tensor in value.items():
                assert torch.equal(ours[key][name], tensor), (key, name)
        elif not key.endswith("pseudo_labels.json"):  # holds hashes of files with times in them
            assert ours[key] == value, key


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Config:
    """The config of a schedule that ran in one go."""
    from tiny_segmentation import write_domains

    root = tmp_path_factory.mktemp("schedule")
    cfg = scheduled(write_domains(root / "data"), root / "work")
    result = run(cfg)
    assert result == root / "work" / "k2-i1-segmentor" / "iter_5.pth"
    return cfg


def test_runs_to_the_end(whole):
    folder = Path(whole.work_dir)
    state = json.loads((folder / "schedule.json").read_text())
    assert [*state["stages"]] == NAMES
    assert {entry["status"] for entry in state["stages"].values()} == {"done"}
    source = Path(whole.train_dataloader.dataset.sources.red.data_root) / "images"
    for k in (1, 2):
        images = folder / f"k{k}-translate" / "images"
        assert sorted(p.name for p in images.glob("*.png")) == sorted(
            p.name for p in source.iterdir()
        )
        translated = cv2.imread(str(images / "0.png"))
        assert translated.shape == cv2.imread(str(source / "0.png")).shape
        assert np.abs(translated.astype(int) - cv2.imread(str(source / "0.png"))).mean() > 1
        figures = json.loads((folder / f"k{k}-i1-segmentor" / "figures.json").read_text())
        assert 0 <= figures["mIoU"] <= 100
    before = (folder / "schedule.json").stat().st_mtime_ns
    run(whole)  # there is nothing left to do
    assert (folder / "schedule.json").stat().st_mtime_ns == before


def test_each_training_is_what_the_method_says(whole):
    folder = Path(whole.work_dir)
    configs = {name: Config.fromfile(p) for name in NAMES for p in (folder / name).glob("*.py")}
    first, second = configs["k1-translator"].model, configs["k2-translator"].model
    assert first.semantic is None
    init = second.semantic.segmentor.init_cfg
    assert init.checkpoint.endswith("k1-i1-segmentor/iter_5.pth")
    assert second.domains == ["red", "blue"] or second.domains == ("red", "blue")
    # What it sees with is the segmentor that was trained last.
    state = torch.load(folder / "k2-translator" / "iter_4.pth", weights_only=False)["state_dict"]
    trained = torch.load(folder / "k1-i1-segmentor" / "iter_5.pth", weights_only=False)
    key = "segmentor.backbone.0.weight"
    assert torch.equal(state[f"semantic.{key}"], trained["state_dict"][key])
    for k in (1, 2):
        for i, label_dir in ((0, None), (1, f"k{k}-i1-labels/labels/blue")):
            dataset = configs[f"k{k}-i{i}-segmentor"].train_dataloader.dataset
            source, target = dataset.sources.red, dataset.targets.blue
            assert source.data_prefix.img_path.endswith(f"k{k}-translate/images")
            assert source.data_prefix.seg_map_path.endswith("red/labels")
            assert (target.type == "mmext.PseudoLabelDataset") == (i > 0)
            if label_dir is not None:
                assert target.label_dir.endswith(label_dir)
                kinds = [step.type for step in target.dataset.pipeline]
                assert kinds[:2] == ["LoadImageFromFile", "mmext.LoadLabelIds"]


class Stop(Exception):
    """The power went off."""


def run_until_stopped(cfg: Config, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with monkeypatch.context() as patch:
        stop_in(patch, kind)
        with pytest.raises(Stop):
            run(cfg, resume=True)


def stop_in(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Let the next stage of a kind end in its middle: iteration 3 of 4, or file 3 of 8."""
    calls = []

    def counted(function, at):
        def call(*args, **kwargs):
            calls.append(args)
            if len(calls) == at:
                raise Stop
            return function(*args, **kwargs)

        return call

    if kind in ("translator", "segmentor"):
        original = Runner.call_hook

        def call_hook(self, name, **kwargs):
            of_kind = "semantic" in self.cfg.model if kind == "translator" else True
            if name == "before_train_iter" and of_kind and self.iter == 3:
                raise Stop
            return original(self, name, **kwargs)

        monkeypatch.setattr(Runner, "call_hook", call_hook)
    elif kind == "translate":
        monkeypatch.setattr(translating, "write_png", counted(translating.write_png, 3))
    else:
        # Predictions are kept first, then labels are written.
        monkeypatch.setattr(pseudo_labels, "write_png", counted(pseudo_labels.write_png, 11))


def test_stopped_in_the_middle_of_each_stage_it_ends_the_same(whole, tmp_path, monkeypatch):
    cfg = copy.deepcopy(whole)
    cfg.work_dir = str(tmp_path / "work")
    for name in NAMES[:6]:  # the second translator learns with the semantic term
        run_until_stopped(cfg, monkeypatch, kind=name.rpartition("-")[2])
        state = json.loads((tmp_path / "work" / "schedule.json").read_text())["stages"]
        assert list(state)[-1] == name
        assert state[name]["status"] == "running"
    run(cfg, resume=True)
    assert_same(contents(tmp_path / "work"), contents(Path(whole.work_dir)))


def test_without_resume_a_training_begins_anew(whole, tmp_path, monkeypatch):
    cfg = copy.deepcopy(whole)
    cfg.work_dir = str(tmp_path / "work")
    run_until_stopped(cfg, monkeypatch, "translator")
    begun = []
    train = Runner.train

    def watched(self):
        result = train(self)
        begun.append(self.cfg.resume)
        return result

    monkeypatch.setattr(Runner, "train", watched)
    run(cfg, only="k1-translator")
    assert begun == [False]


def test_a_stage_alone(whole, tmp_path):
    cfg = copy.deepcopy(whole)
    cfg.work_dir = str(tmp_path)
    with pytest.raises(ValueError, match="'k1-translator' is not done: run it first"):
        run(cfg, only="k1-translate")
    assert run(cfg, only="k1-translator") == tmp_path / "k1-translator" / "iter_4.pth"
    assert len(list(run(cfg, only="k1-translate").glob("*.png"))) == 8


def _run_as(cfg: Config, rank: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    run(cfg)


def test_two_processes_run_the_whole_schedule(whole, tmp_path):
    """Each image is written once, from the translator that both trained."""
    cfg = copy.deepcopy(whole)
    cfg.work_dir, cfg.launcher = str(tmp_path / "two"), "pytorch"
    cfg.schedule.outer = 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")  # what is imported is there already
    workers = [context.Process(target=_run_as, args=(cfg, rank, port)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
        assert worker.exitcode == 0
    state = json.loads((tmp_path / "two" / "schedule.json").read_text())["stages"]
    assert {name: stage["status"] for name, stage in state.items()} == dict.fromkeys(
        NAMES[:5], "done"
    )
    cfg.work_dir, cfg.launcher = str(tmp_path / "one"), "none"
    shutil.copytree(tmp_path / "two" / "k1-translator", tmp_path / "one" / "k1-translator")
    state = {"k1-translator": state["k1-translator"]}
    recipe = json.loads((tmp_path / "two" / "schedule.json").read_text())
    (tmp_path / "one" / "schedule.json").write_text(json.dumps(recipe | dict(stages=state)))
    images = run(cfg, only="k1-translate")
    both = {
        path.name: path.read_bytes()
        for path in (tmp_path / "two/k1-translate/images").glob("*.png")
    }
    assert len(both) == 8
    assert both == {path.name: path.read_bytes() for path in images.glob("*.png")}
    two, one = (contents(Path(work)) for work in (tmp_path / "two", whole.work_dir))
    # Twice the images in a step: not the weights of one process.
    name = "k1-i0-segmentor/iter_4.pth"
    assert any(not torch.equal(two[name][key], value) for key, value in one[name].items())


def test_self_training_alone(domains, tmp_path):
    cfg = scheduled(domains, tmp_path / "work", pseudo_labels=dict(kind="fixed", ceiling=0.4))
    cfg.schedule.update(outer=1, inner=1, translator=None)
    cfg.model.discriminator = None
    del cfg.optim_wrapper["discriminator"]
    result = run(cfg)
    assert result.parent.name == "k1-i1-segmentor"
    labels = tmp_path / "work/k1-i1-labels/labels/blue"
    written = json.loads((labels / "pseudo_labels.json").read_text())
    assert written["rule"] == dict(kind="fixed", ceiling=0.4, portion=0.5)


def test_translates_at_another_scale_and_takes_up_what_is_there(whole, tmp_path, monkeypatch):
    source = whole.train_dataloader.dataset.sources.red
    checkpoint = Path(whole.work_dir) / "k1-translator" / "iter_4.pth"
    cfg = Config.fromfile(next(checkpoint.parent.glob("*.py")))
    translator = translating.SourceTranslator(cfg, checkpoint, source, scale=(32, 16))
    folder = translator.write(tmp_path / "images")
    assert cv2.imread(str(folder / "3.png")).shape == (32, 64, 3)
    (folder / "3.png").unlink()
    made = []
    monkeypatch.setattr(translator, "translate", lambda path: made.append(path) or np.zeros((2, 2)))
    translator.write(folder)
    assert [Path(path).name for path in made] == ["3.png"]
    # Another translator's images are not taken for this one's.
    translator.recipe["checkpoint"] = "other"
    translator.write(folder)
    assert len(made) == 9


def test_a_translator_of_another_model_is_refused(whole, tmp_path):
    checkpoint = Path(whole.work_dir) / "k1-i0-segmentor" / "iter_4.pth"
    cfg = Config.fromfile(next((Path(whole.work_dir) / "k1-translator").glob("*.py")))
    with pytest.raises(ValueError, match=r"iter_4\.pth is not a checkpoint of this translator"):
        translating.SourceTranslator(cfg, checkpoint, whole.train_dataloader.dataset.sources.red)


def test_unusable_schedules_are_refused(whole):
    cfg = copy.deepcopy(whole)
    cfg.train_dataloader.dataset.targets = {}
    with pytest.raises(ValueError, match=r"the sources \['red'\] and the targets \[\]"):
        run(cfg)
    cfg.schedule.translator = None
    cfg.schedule.outer = 1
    with pytest.raises(ValueError, match=r"train_dataloader\.dataset has no targets"):
        run(cfg)
    cfg = copy.deepcopy(whole)
    cfg.schedule.translator.pop("pipeline")
    with pytest.raises(ValueError, match=r"schedule\.translator has no pipeline"):
        run(cfg)
    cfg = copy.deepcopy(whole)
    cfg.schedule.translator.pop("model")
    with pytest.raises(ValueError, match=r"schedule\.translator\.model\.type is 'mmext\.BDL'"):
        stage_configs.translator_stage_config(cfg, cfg.schedule.translator, [], None)
    with pytest.raises(ValueError, match="Expected what loads the image"):
        stage_configs.with_label_loader([dict(type="PackSegInputs")])
    with pytest.raises(ValueError, match="the rule of pseudo labels is 'mean'"):
        bdl_schedule.BDLSchedule(outer=1, pseudo_labels=dict(kind="mean"))


def test_another_config_needs_another_folder(whole):
    cfg = copy.deepcopy(whole)
    cfg.optim_wrapper.segmentor.optimizer.lr = 0.5
    with pytest.raises(ValueError, match="begun with another recipe: optim_wrapper differ"):
        run(cfg)
