import json
import pickle

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict


@pytest.fixture(scope="module")
def sheet(load_tool):
    return load_tool("analysis_tools/contact_sheet.py")


@pytest.fixture(scope="module")
def curves(load_tool):
    return load_tool("analysis_tools/plot_curves.py")


def test_match_takes_best_score_first_and_each_box_once(sheet):
    truth = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    boxes = np.array(
        [
            [0.0, 0, 10, 9],  # the first box
            [0.0, 0, 10, 10],  # the first box again: taken
            [20.0, 0, 30, 4],  # IoU 0.4 with the second
            [40.0, 0, 50, 10],  # the third, but of another class
        ]
    )
    owner = sheet.match(truth, np.array([0, 0, 1]), boxes, np.array([0, 0, 0, 0]))
    assert owner.tolist() == [0, -1, -1, -1]
    assert sheet.match(np.zeros((0, 4)), np.zeros(0), boxes, np.zeros(4)).tolist() == [-1] * 4


def test_best_threshold_maximises_f1(sheet):
    picture = sheet.Picture(
        path="",
        truth=np.zeros((3, 4)),
        boxes=np.zeros((5, 4)),
        scores=np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
        owner=np.array([0, -1, 1, -1, -1]),
    )
    # F1 after each detection: 2/4, 2/5, 4/6, 4/7, 4/8.
    assert sheet.best_threshold([picture]) == 0.7


def test_match_of_rotated_boxes_uses_their_angles(sheet):
    truth = np.array([[50.0, 50, 40, 8, 0.7]])
    turned = np.array([[50.0, 50, 40, 8, -0.7], [50, 50, 8, 40, 0.7 - np.pi / 2]])
    owner = sheet.match(truth, np.zeros(1), turned, np.zeros(2))
    assert owner.tolist() == [-1, 0]


def test_rotated_block_leaves_out_difficult_objects_and_what_hits_them(sheet, tmp_path):
    (tmp_path / "labels").mkdir()
    lines = ["0 0 20 0 20 10 0 10 tug 1", "50 50 90 50 90 60 50 60 tug 0"]
    (tmp_path / "labels" / "a.txt").write_text("\n".join(lines))
    (tmp_path / "labels" / "b.txt").write_text("")
    dataset = ConfigDict(
        data_root=str(tmp_path), ann_file="labels", metainfo=dict(classes=("raft", "tug"))
    )
    boxes = torch.tensor([[10.0, 5, 20, 10, 0.0], [70, 55, 40, 10, 0.0], [10, 90, 20, 10, 0.0]])
    found = dict(bboxes=boxes, scores=torch.tensor([0.9, 0.6, 0.8]), labels=torch.tensor([1, 1, 1]))
    nothing = {key: value[:0] for key, value in found.items()}
    results = [
        dict(img_id=name, img_path=f"{name}.png", pred_instances=instances)
        for name, instances in (("b", nothing), ("a", found))
    ]
    block = sheet.read_rotated_block("test", dataset, results)
    first, second = block.pictures
    np.testing.assert_allclose(first.truth[:, :2], [[70, 55]])
    np.testing.assert_allclose(first.scores, [0.8, 0.6])
    assert first.owner.tolist() == [-1, 0]
    assert len(second.truth) == len(second.boxes) == 0
    # One class has no object and counts as 0; of the other, the best score is false.
    assert block.ap50 == pytest.approx(0.25)


def test_chosen_pictures_are_spread(sheet):
    assert sheet.chosen(list(range(10)), 4) == [0, 3, 6, 9]
    assert sheet.chosen([1, 2], 4) == sheet.chosen([1, 2], None) == [1, 2]


@pytest.fixture
def run_of_two(tmp_path):
    """A config, its annotation file and results: image 1 has its box found, image 2 missed."""
    coco = dict(images=[], annotations=[], categories=[dict(id=5, name="tree")])
    results = []
    for image_id in (1, 2):
        path = tmp_path / f"{image_id}.png"
        cv2.imwrite(str(path), np.full((40, 60, 3), 90, np.uint8))
        coco["images"].append(dict(id=image_id, file_name=path.name, width=60, height=40))
        coco["annotations"].append(
            dict(
                id=image_id,
                image_id=image_id,
                category_id=5,
                bbox=[10, 10, 20, 20],
                area=400,
                iscrowd=0,
            )
        )
        left = 10 if image_id == 1 else 35
        results.append(
            dict(
                img_id=image_id,
                img_path=str(path),
                pred_instances=dict(
                    bboxes=torch.tensor([[left, 10.0, left + 20, 30]]),
                    scores=torch.tensor([0.5 / image_id]),
                    labels=torch.tensor([0]),
                ),
            )
        )
    (tmp_path / "a.json").write_text(json.dumps(coco))
    (tmp_path / "results.pkl").write_bytes(pickle.dumps(results))
    (tmp_path / "config.py").write_text(
        f"test_dataloader = dict(dataset=dict(metainfo=dict(classes=('tree',))))\n"
        f"test_evaluator = dict(type='CocoMetric', ann_file={str(tmp_path / 'a.json')!r})\n"
    )
    return tmp_path


def run_main(module, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["tool", *map(str, arguments)])
    module.main()


def test_contact_sheet_of_a_run(sheet, run_of_two, monkeypatch, capsys):
    drawn = []
    original = sheet.draw_sheet
    monkeypatch.setattr(sheet, "draw_sheet", lambda b, *rest: (drawn.extend(b), original(b, *rest)))
    out = run_of_two / "sheet.png"
    run_main(sheet, monkeypatch, run_of_two / "config.py", run_of_two / "results.pkl", "--out", out)
    (block,) = drawn
    # Found at recall 1/2 with precision 1: 51 of COCO's 101 recall points.
    assert block.ap50 == pytest.approx(51 / 101)
    assert [picture.owner.tolist() for picture in block.pictures] == [[0], [-1]]
    picture = cv2.imread(str(out))
    assert min(picture.shape[:2]) > 300
    assert not list(run_of_two.glob("*.part.*"))
    assert str(out) in capsys.readouterr().out


def test_contact_sheet_refuses_results_of_another_config(sheet, run_of_two, monkeypatch):
    (run_of_two / "results.pkl").write_bytes(pickle.dumps([]))
    with pytest.raises(KeyError, match="belong to another config"):
        run_main(
            sheet,
            monkeypatch,
            run_of_two / "config.py",
            run_of_two / "results.pkl",
            "--out",
            run_of_two / "sheet.png",
        )


def test_curves_of_the_newest_run(curves, tmp_path, monkeypatch):
    for run, value in (("2026_1", 9.0), ("2026_2", 1.0)):
        folder = tmp_path / run / "vis_data"
        folder.mkdir(parents=True)
        records = [
            dict(base_lr=0.1, loss=value / step, loss_cls=value / step / 2, step=step)
            for step in (1, 2, 3)
        ]
        records.append({"coco/bbox_mAP": 0.1, "coco/bbox_mAP_50": 0.3, "step": 3})
        (folder / "scalars.json").write_text("\n".join(map(json.dumps, records)))
    training, validation = curves.read_scalars(tmp_path)
    assert [record["loss"] for record in training] == [1.0, 1 / 2, 1 / 3]
    assert [record["step"] for record in validation] == [3]
    run_main(curves, monkeypatch, tmp_path)
    assert cv2.imread(str(tmp_path / "curves.png")).shape[1] > 800


def test_curves_say_where_they_look(curves, tmp_path):
    with pytest.raises(FileNotFoundError, match="LocalVisBackend"):
        curves.read_scalars(tmp_path)
