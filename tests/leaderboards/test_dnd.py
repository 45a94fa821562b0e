import numpy as np
import pytest
import scipy.io
import torch

from mmext.leaderboards import dnd


@pytest.fixture
def small(monkeypatch):
    """2 photographs with 3 boxes of 8 x 8 pixels in place of 50 with 20 of 512 x 512."""
    for name, value in (("IMAGES", 2), ("BOXES", 3), ("SIDE", 8)):
        monkeypatch.setattr(dnd, name, value)


@pytest.fixture
def files(small, tmp_path):
    """The published files' layout, with what they hold as arrays."""
    h5py = pytest.importorskip("h5py", reason="h5py (for DND's MATLAB 7.3 files) is not installed")
    rng = np.random.default_rng(0)
    photographs = [rng.random((20, 30, 3)).astype(np.float32) for _ in range(2)]
    corners = np.array([[0, 0], [5, 7], [12, 22]])
    with h5py.File(tmp_path / "info.mat", "w") as info:
        references = np.empty((1, 2), dtype=h5py.ref_dtype)
        for image in range(2):
            # 1-based, inclusive: rows of top, left, bottom, right; stored transposed.
            boxes = np.hstack([corners + 1 + image, corners + 8 + image]).astype(float)
            boxes[2] = np.hstack([corners[2] + 1, corners[2] + 8])
            references[0, image] = info.create_dataset(f"boxes{image}", data=boxes.T).ref
        info.create_dataset("info/boundingboxes", data=references, dtype=h5py.ref_dtype)
    (tmp_path / "images_srgb").mkdir()
    for image, photograph in enumerate(photographs):
        with h5py.File(tmp_path / "images_srgb" / f"{image + 1:04d}.mat", "w") as file:
            file["InoisySRGB"] = photograph.T
    return tmp_path, photographs


def samples(count=6):
    return [
        dict(
            img_path=dnd.crop_name(*divmod(index, 3)) + ".png",
            pred_img=torch.full((3, 8, 8), index / 10),
        )
        for index in range(count)
    ]


def test_crops_are_cut_where_the_boxes_are(files):
    root, photographs = files
    dataset = dnd.DNDCrops(data_root=str(root))
    assert len(dataset) == 6
    assert [dataset[i]["img_path"] for i in (0, 5)] == ["0001_01", "0002_03"]
    for index, window in ((1, (5, 7)), (4, (6, 8)), (5, (12, 22))):
        top, left = window
        crop = photographs[index // 3][top : top + 8, left : left + 8]
        np.testing.assert_array_equal(dataset[index]["img"][..., ::-1], crop)


def test_missing_photograph_is_named(files):
    root, _ = files
    (root / "images_srgb" / "0002.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"0002\.mat does not exist"):
        dnd.DNDCrops(data_root=str(root))[3]


def test_submission_round_trip(small, tmp_path):
    out = tmp_path / "submission"
    metric = dnd.DNDSubmission(out_dir=str(out))
    metric.process({}, samples()[::-1])
    assert metric.evaluate(6) == {"dnd/crops": 6}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["submission"]
    assert sorted(path.name for path in out.iterdir()) == ["0001.mat", "0002.mat"]
    content = scipy.io.loadmat(out / "0002.mat")
    assert content["Idenoised"].size == 3
    for box, crop in enumerate(content["Idenoised"].ravel()):
        assert crop.dtype == np.float32
        np.testing.assert_allclose(crop, np.full((8, 8, 3), (3 + box) / 10), rtol=1e-6)
    assert content["israw"].item() == 0
    assert content["eval_version"].item() == "1.0"


def test_incomplete_submission_is_not_written(small, tmp_path):
    out = tmp_path / "submission"
    np.save((tmp_path / "stale.npy"), np.zeros(3))
    crops = tmp_path / "submission-crops"
    crops.mkdir()
    np.save(crops / "0002_03.npy", np.zeros((8, 8, 3)))  # of an interrupted run
    metric = dnd.DNDSubmission(out_dir=str(out))
    metric.process({}, samples(5))
    with pytest.raises(ValueError, match="1 of 6 crops are missing, the first is 0002_03"):
        metric.evaluate(5)
    assert not out.exists()


def test_crop_of_another_size_is_not_bundled(small, tmp_path):
    metric = dnd.DNDSubmission(out_dir=str(tmp_path / "submission"))
    metric.process({}, [sample | dict(pred_img=torch.zeros(3, 8, 9)) for sample in samples()])
    with pytest.raises(ValueError, match=r"0001_01 is \(8, 9, 3\)"):
        metric.evaluate(6)
    assert not (tmp_path / "submission").exists()


@pytest.mark.parametrize(
    ("name", "expected"), [("a/0001_1.png", (0, 0)), ("0050_20", (49, 19)), ("0007_05.mat", (6, 4))]
)
def test_names(name, expected):
    assert dnd.crop_indices(name) == expected


@pytest.mark.parametrize("name", ["0051_01", "0001_21", "0001", "photo.png", "0000_01"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="0001_01 to 0050_20"):
        dnd.crop_indices(name)
