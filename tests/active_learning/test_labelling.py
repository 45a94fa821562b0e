"""Labels by people: what is asked for, how it comes back, and how the campaign goes on."""

import copy
import csv
import json
from pathlib import Path

import pytest
from tiny_campaign import campaign_config

from mmext.active_learning import Pool
from mmext.engine import Runner


@pytest.fixture(scope="session")
def take_in(load_al_tool):
    """The function behind tools/al_import.py."""
    return load_al_tool("al_import").take_in


@pytest.fixture
def asked(pool_data, tmp_path):
    """A campaign without labels, its truth, and a function that runs it."""
    truth = json.loads((pool_data / "annotations.json").read_text())
    file = tmp_path / "pool.json"
    file.write_text(json.dumps({**truth, "annotations": []}))
    cfg = campaign_config(pool_data, tmp_path / "work", oracle=False)
    cfg.train_dataloader.dataset.ann_file = str(file)
    names = iter(range(9))

    def run(resume=True):
        again = copy.deepcopy(cfg)
        again.experiment_name, again.resume = f"{tmp_path.name}{next(names)}", resume
        runner = Runner.from_cfg(again)
        runner.train()
        return runner

    return cfg, truth, run


def answer(cfg, truth, cycle: int, target: Path, rename=lambda name: name) -> Path:
    """Label what a campaign asks for, by the truth, as a tool for labelling would export it."""
    folder = Path(cfg.work_dir) / "to_label" / f"cycle_{cycle}"
    content = json.loads((folder / "coco.json").read_text())
    ids = {f"images/{image['file_name']}": image["id"] for image in truth["images"]}
    theirs = {ids[image["file_name"]]: image["id"] for image in content["images"]}
    content["categories"] = [dict(id=7, name="blue"), dict(id=9, name="red")]
    content["annotations"] = [
        dict(a, id=n, image_id=theirs[a["image_id"]], category_id={1: 9, 2: 7}[a["category_id"]])
        for n, a in enumerate(truth["annotations"])
        if a["image_id"] in theirs
    ]
    for image in content["images"]:
        image["file_name"] = rename(image["file_name"])
    target.write_text(json.dumps(content))
    return target


def test_a_campaign_with_labels_by_people(asked, take_in, tmp_path, pool_data, request):
    """It waits before each cycle, and ends where a simulation ends."""
    cfg, truth, run = asked
    assert run(resume=False).iter == 0
    folder = tmp_path / "work" / "to_label" / "cycle_0"
    rows = list(csv.DictReader((folder / "images.csv").open()))
    pool = Pool.load(cfg.work_dir)
    assert [row["id"] for row in rows] == pool.missing_labels() == pool.cycles[0]
    assert all(Path(row["path"]).is_file() for row in rows)
    tasks = json.loads((folder / "label_studio.json").read_text())
    assert [task["data"]["pool_id"] for task in tasks] == pool.cycles[0]
    assert run().iter == 0  # still waiting
    take_in(cfg, answer(cfg, truth, 0, tmp_path / "back0.json"))
    assert run().iter == 4

    def upload(name):
        return f"upload/0a1b2c3d-{Path(name).name}"

    take_in(cfg, answer(cfg, truth, 1, tmp_path / "back1.json", upload))
    assert run().iter == 12
    simulated = campaign_config(pool_data, tmp_path / "simulated")
    simulated.experiment_name = request.node.name
    simulation = Runner.from_cfg(simulated)
    simulation.train()
    ours, theirs = Pool.load(cfg.work_dir), simulation.train_loop.pool
    assert ours.cycles == theirs.cycles
    assert ours.hashes == theirs.hashes
    assert [e["metrics"] for e in ours.history] == [e["metrics"] for e in theirs.history]
    with pytest.raises(ValueError, match="waits for no labels"):
        take_in(cfg, tmp_path / "back1.json")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c["images"].pop(), "does not have 1 of 4 images"),
        (lambda c: c["images"][0].update(width=65), r"has the size \(65, 64\) there"),
        (lambda c: c["categories"][0].update(name="green"), r"categories \['green'\] are unknown"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 0, 4]), "width and height above 0"),
        (lambda c: c.pop("annotations"), "the list 'annotations' is missing"),
    ],
)
def test_wrong_labels_are_refused_and_nothing_is_written(asked, take_in, tmp_path, spoil, message):
    cfg, truth, run = asked
    run(resume=False)
    back = answer(cfg, truth, 0, tmp_path / "back.json")
    content = json.loads(back.read_text())
    spoil(content)
    back.write_text(json.dumps(content))
    before = (tmp_path / "pool.json").read_text()
    with pytest.raises(ValueError, match=message):
        take_in(cfg, back)
    assert (tmp_path / "pool.json").read_text() == before
    assert len(Pool.load(cfg.work_dir).missing_labels()) == 4


def test_begins_with_the_labels_that_are_there(asked):
    """Images with boxes are the first set; nothing is asked for before the first cycle."""
    cfg, truth, run = asked
    content = {**truth, "annotations": [a for a in truth["annotations"] if a["image_id"] < 5]}
    Path(cfg.train_dataloader.dataset.ann_file).write_text(json.dumps(content))
    runner = run(resume=False)
    assert runner.iter == 2 * 3
    assert runner.train_loop.pool.cycles[0] == [f"images/{index}.png" for index in range(5)]
    assert len(runner.train_loop.pool.missing_labels()) == 3


def test_refuses_to_hide_what_is_to_be_labelled(asked):
    cfg, _, run = asked
    cfg.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True)
    with pytest.raises(ValueError, match="filter_empty_gt=True hides images"):
        run(resume=False)
