import numpy as np
import pytest

from mmext.leaderboards import hrsc, ucas_aod
from mmext.rotated.evaluation import join_detections, to_corners

SHIP = """<HRSC_Object><Object_ID>1</Object_ID><Class_ID>100000001</Class_ID>
<difficult>{difficult}</difficult><mbox_cx>{cx}</mbox_cx><mbox_cy>50</mbox_cy>
<mbox_w>40</mbox_w><mbox_h>8</mbox_h><mbox_ang>0.5</mbox_ang></HRSC_Object>"""


def hrsc_file(folder, image, *ships):
    objects = "".join(SHIP.format(cx=cx, difficult=difficult) for cx, difficult in ships)
    text = f"<HRSC_Image><HRSC_Objects>{objects}</HRSC_Objects></HRSC_Image>"
    (folder / f"{image}.xml").write_text(text)


def detections(images, boxes, scores):
    return join_detections(
        images,
        [to_corners(np.array(part, dtype=float).reshape(-1, 5)) for part in boxes],
        [np.array(part) for part in scores],
        [np.zeros(len(part), int) for part in scores],
    )


def test_hrsc(tmp_path):
    """Three ships, the difficult one not counted; one of the others found, after a false one."""
    hrsc_file(tmp_path, "100000001", (50, 0), (150, 1))
    hrsc_file(tmp_path, "100000002", (50, 0))
    hrsc_file(tmp_path, "100000003")
    images = ["100000001", "100000002", "100000003"]
    truth = hrsc.read_ground_truth(tmp_path, images)
    assert truth.images == tuple(images)
    assert truth.difficult.tolist() == [False, True, False]
    ship = [50, 50, 40, 8, 0.5]
    hard = [150, 50, 40, 8, 0.5]
    found = detections(images, [[ship, hard], [], [ship]], [[0.5, 0.99], [], [0.9]])
    figures = hrsc.evaluate(found, truth)
    assert figures["AP07"] == pytest.approx(6 * 0.5 / 11)
    assert figures["AP12"] == figures["AP12_50:95"] == pytest.approx(0.25)
    assert set(figures) == {"AP07", "AP12", "AP07_50:95", "AP12_50:95"}


def test_hrsc_boxes_are_those_of_mmrotates_data_set(tmp_path):
    from mmrotate.datasets import HRSCDataset

    hrsc_file(tmp_path, "1", (50, 0))
    path = tmp_path / "1.xml"
    size = "<Img_SizeWidth>9</Img_SizeWidth>"
    head = "<header_x>1</header_x><header_y>1</header_y></HRSC_Object>"
    text = path.read_text().replace("<HRSC_Objects>", f"{size}<HRSC_Objects>")
    path.write_text(text.replace("</HRSC_Object>", head, 1))
    (tmp_path / "test.txt").write_text("1\n")
    theirs = HRSCDataset(
        ann_file=str(tmp_path / "test.txt"),
        ann_subdir="",
        data_prefix=dict(sub_data_root=str(tmp_path)),
        lazy_init=True,
    ).load_data_list()
    ours = hrsc.read_ground_truth(tmp_path, ["1"])
    expected = np.array(theirs[0]["instances"][0]["bbox"]).reshape(4, 2)
    order = np.lexsort(ours.corners[0].T), np.lexsort(expected.T)
    np.testing.assert_allclose(ours.corners[0][order[0]], expected[order[1]], atol=1e-4)


def test_hrsc_names_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image '7' has no annotation file .*7\.xml"):
        hrsc.read_ground_truth(tmp_path, ["7"])
    (tmp_path / "7.xml").write_text("<a>")
    with pytest.raises(ValueError, match=r"7\.xml is not valid xml"):
        hrsc.read_ground_truth(tmp_path, ["7"])
    hrsc_file(tmp_path, "7", ("wide", 0))
    with pytest.raises(ValueError, match=r"7\.xml: object 1 has mbox_cx = 'wide'"):
        hrsc.read_ground_truth(tmp_path, ["7"])


LINE = "0 0 10 0 10 10 0 10 90.0 0 0 10 10"


def test_ucas_aod_in_both_layouts(tmp_path):
    for folder in ("CAR", "PLANE", "labelTxt"):
        (tmp_path / folder).mkdir()
    (tmp_path / "CAR" / "P0001.txt").write_text(LINE.replace(" ", "\t") + "\t\n")
    (tmp_path / "PLANE" / "P0001.txt").write_text(f"{LINE}\n\n{LINE}\n")
    (tmp_path / "labelTxt" / "P0001.txt").write_text(f"car {LINE}\nairplane {LINE}\n")
    (tmp_path / "labelTxt" / "P0002.txt").write_text("")
    truth = ucas_aod.read_ground_truth(tmp_path, ["CAR/P0001", "PLANE/P0001"])
    assert (truth.label.tolist(), truth.image.tolist()) == ([0, 1, 1], [0, 1, 1])
    truth = ucas_aod.read_ground_truth(tmp_path / "labelTxt", ["P0001", "P0002"])
    assert (truth.label.tolist(), truth.images) == ([0, 1], ("P0001", "P0002"))
    np.testing.assert_array_equal(truth.corners[0], [[0, 0], [10, 0], [10, 10], [0, 10]])
    found = detections(["P0001", "P0002"], [[[5, 5, 10, 10, 0]], []], [[0.5], []])
    assert ucas_aod.evaluate(found, truth)["AP12"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE, "class None; expected car or airplane"),
        (f"bus {LINE}", "class 'bus'"),
        ("car 1 2 3", "expected .class. x1 y1"),
        (f"car {LINE.replace('90.0', '90 90')}", "15 columns"),
        (f"car inf{LINE[1:]}", "not finite"),
    ],
)
def test_ucas_aod_names_bad_lines(tmp_path, line, message):
    (tmp_path / "P0001.txt").write_text(f"car {LINE}\n{line}\n")
    with pytest.raises(ValueError, match=message) as error:
        ucas_aod.read_ground_truth(tmp_path, ["P0001"])
    assert "P0001.txt:2:" in str(error.value)
    with pytest.raises(FileNotFoundError, match="image 'P9' has no label file"):
        ucas_aod.read_ground_truth(tmp_path, ["P9"])
