"""``tools/train.py`` with a schedule: which options reach it."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmext.registry import SCHEDULES


@pytest.fixture(scope="module")
def train(load_tool):
    return load_tool("train.py")


def arguments(**changes):
    given = dict(config="c.py", amp=False, auto_scale_lr=False, resume=None, stage=None)
    return SimpleNamespace(**{**given, **changes})


def scheduled():
    adam = dict(optimizer=dict(type="Adam"))
    return Config(
        dict(
            optim_wrapper=dict(segmentor=dict(adam), discriminator=dict(adam)),
            schedule=dict(
                type="mmext.BDLSchedule",
                outer=1,
                translator=dict(
                    pipeline=[1], optim_wrapper=dict(_delete_=True, generators=dict(adam))
                ),
            ),
        )
    )


def test_mixed_precision_reaches_every_stage(train):
    cfg = scheduled()
    train.apply_training_options(cfg, arguments(amp=True))
    wrappers = [*cfg.optim_wrapper.values(), cfg.schedule.translator.optim_wrapper.generators]
    assert len(wrappers) == 3
    assert all("Amp" in wrapper.type for wrapper in wrappers)


def test_stage_and_resume_reach_the_schedule(train, monkeypatch):
    cfg, calls = scheduled(), []
    train.apply_training_options(cfg, arguments(resume="auto"))
    kind = SCHEDULES.get("BDLSchedule")
    monkeypatch.setattr(kind, "run", lambda self, cfg, only: calls.append((cfg.resume, only)))
    train.train_in_stages(cfg, arguments(stage="k1-translate"))
    assert calls == [(True, "k1-translate")]


def test_what_makes_no_sense_is_refused(train):
    cfg = scheduled()
    train.apply_training_options(cfg, arguments(resume="some.pth"))
    with pytest.raises(ValueError, match=r"finds its checkpoints itself, and got some\.pth"):
        train.train_in_stages(cfg, arguments())
    with pytest.raises(ValueError, match=r"--stage k1: c\.py has no schedule"):
        train.train_in_stages(Config(dict()), arguments(stage="k1"))
