"""Schedules of stages: order, what is handed on, stopping anywhere."""

import json

import pytest

from mmext.segmentation.adaptation.schedule import STATE_FILE, Schedule, Stage, bdl_stages


def test_stages_of_bdl():
    stages = bdl_stages(outer=2, inner=1)
    assert [stage.name for stage in stages] == [
        *("k1-translator", "k1-translate", "k1-i0-segmentor", "k1-i1-labels", "k1-i1-segmentor"),
        *("k2-translator", "k2-translate", "k2-i0-segmentor", "k2-i1-labels", "k2-i1-segmentor"),
    ]
    needs = {stage.name: stage.needs for stage in stages}
    assert needs["k1-translator"] == {}
    assert needs["k2-translator"] == dict(segmentor="k1-i1-segmentor")
    assert needs["k2-i1-segmentor"] == dict(translated="k2-translate", labels="k2-i1-labels")
    assert needs["k2-i1-labels"] == dict(segmentor="k2-i0-segmentor")
    assert len(bdl_stages()) == 2 * (2 + 1 + 2 * 2)
    alone = bdl_stages(1, 1, translation=False)
    assert [stage.kind for stage in alone] == ["segmentor", "labels", "segmentor"]
    with pytest.raises(ValueError, match="the outer rounds would all be the same"):
        bdl_stages(2, 1, translation=False)


class Work:
    """Actions that write a file with what they were given; stops where it is told to."""

    def __init__(self, stop_at=None, half=False):
        self.stop_at, self.half, self.calls = stop_at, half, []

    def __call__(self, stage, folder, inputs, begun):
        self.calls.append((stage.name, begun))
        file = folder / "result.txt"
        if stage.name == self.stop_at:
            if self.half:
                file.write_text("half")
            raise KeyboardInterrupt
        parts = [f"{role}={path.read_text()}" for role, path in sorted(inputs.items())]
        file.write_text(f"{stage.name}({','.join(parts)})")
        return file


def schedule(folder, work, recipe=None, stages=None):
    kinds = ("translator", "translate", "segmentor", "labels")
    stages = bdl_stages(2, 1) if stages is None else stages
    return Schedule(stages, dict.fromkeys(kinds, work), folder, recipe or dict(seed=0))


def test_results_are_handed_on(tmp_path):
    text = schedule(tmp_path, Work()).run().read_text()
    assert text.startswith("k2-i1-segmentor(labels=k2-i1-labels(segmentor=k2-i0-segmentor(")
    assert text.count("k1-i1-segmentor") == 2  # through the second translator, twice


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("stop_at", [stage.name for stage in bdl_stages(2, 1)])
def test_stopped_in_any_stage_it_goes_on_and_ends_the_same(tmp_path, stop_at, half):
    whole = schedule(tmp_path / "whole", Work()).run().read_text()
    with pytest.raises(KeyboardInterrupt):
        schedule(tmp_path / "stopped", Work(stop_at, half)).run()
    work = Work()
    assert schedule(tmp_path / "stopped", work).run().read_text() == whole
    names = [stage.name for stage in bdl_stages(2, 1)]
    expected = names[names.index(stop_at) :]
    assert work.calls == [(name, name == stop_at) for name in expected]


def test_finished_schedules_do_nothing_and_can_be_moved(tmp_path):
    schedule(tmp_path / "a", Work()).run()
    (tmp_path / "a").rename(tmp_path / "b")
    work = Work()
    assert schedule(tmp_path / "b", work).run().is_file()
    assert not work.calls


def test_a_lost_result_is_made_again(tmp_path):
    schedule(tmp_path, Work()).run()
    (tmp_path / "k2-translate" / "result.txt").unlink()
    work = Work()
    schedule(tmp_path, work).run()
    assert [name for name, _ in work.calls] == ["k2-translate"]


def test_a_stage_alone(tmp_path):
    with pytest.raises(ValueError, match="'k1-translator' is not done: run it first"):
        schedule(tmp_path, Work()).run(only="k1-translate")
    schedule(tmp_path, Work()).run(only="k1-translator")
    assert schedule(tmp_path, Work()).run(only="k1-translate").is_file()
    with pytest.raises(ValueError, match="stage 'k9' is unknown"):
        schedule(tmp_path, Work()).run(only="k9")
    schedule(tmp_path, Work()).run()
    # Done anew, it takes with it what was built on it.
    schedule(tmp_path, Work()).run(only="k2-i0-segmentor")
    work = Work()
    schedule(tmp_path, work).run()
    assert [name for name, _ in work.calls] == ["k2-i1-labels", "k2-i1-segmentor"]


def test_another_recipe_is_refused(tmp_path):
    schedule(tmp_path, Work(), dict(seed=0, lr=1)).run()
    with pytest.raises(ValueError, match=r"schedule\.json was begun with another recipe: lr, seed"):
        schedule(tmp_path, Work(), dict(seed=1, lr=2))
    state = json.loads((tmp_path / STATE_FILE).read_text())
    assert all(entry["status"] == "done" for entry in state["stages"].values())


def test_wrong_stages_are_refused(tmp_path):
    for stages in (
        [Stage("a", "labels", dict(segmentor="b")), Stage("b", "segmentor", {})],
        [Stage("a", "labels", {}), Stage("a", "labels", {})],
        [Stage("a", "dance", {})],
    ):
        with pytest.raises(ValueError, match="Expected them before it"):
            schedule(tmp_path, Work(), stages=stages)
