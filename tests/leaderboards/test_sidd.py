import numpy as np
import pytest
import scipy.io
import torch

from mmext.leaderboards import sidd
from mmext.registry import DATASETS, METRICS


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Files of 2 x 3 blocks of 8 x 8 pixels in place of 40 x 32 of 256 x 256."""
    for name, value in (("IMAGES", 2), ("BLOCKS", 3), ("SIDE", 8)):
        monkeypatch.setattr(sidd, name, value)
    rng = np.random.default_rng(0)
    for name in ("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"):
        blocks = rng.integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
        scipy.io.savemat(tmp_path / f"{name}.mat", {name: blocks})
    return tmp_path


def restored(dataset, indices):
    """What a model that changes nothing predicts, as the evaluator gets it."""
    samples = []
    for index in indices:
        packed = dataset[index]
        image = packed["inputs"].flip(0).float() / 255
        samples.append(packed["data_samples"].to_dict() | dict(pred_img=image))
    return samples


@pytest.fixture
def dataset(small):
    pack = dict(type="mmext.PackRestorationInputs")
    return DATASETS.build(dict(type="mmext.SIDDBlocks", data_root=str(small), pipeline=[pack]))


def test_blocks_keep_order_and_colours(dataset, small):
    noisy = sidd.read_blocks(small / "ValidationNoisyBlocksSrgb.mat")
    clean = sidd.read_blocks(small / "ValidationGtBlocksSrgb.mat")
    assert len(dataset) == 6
    packed = dataset[4]
    np.testing.assert_array_equal(
        packed["inputs"].numpy(), noisy[1, 1, ..., ::-1].transpose(2, 0, 1)
    )
    truth = packed["data_samples"].gt_img.numpy()
    np.testing.assert_array_equal(truth, clean[1, 1, ..., ::-1].transpose(2, 0, 1))
    assert packed["data_samples"].block == 4


def test_benchmark_has_no_targets(small):
    (small / "ValidationNoisyBlocksSrgb.mat").rename(small / "BenchmarkNoisyBlocksSrgb.mat")
    with pytest.raises(ValueError, match=r"'BenchmarkNoisyBlocksSrgb' holds nothing"):
        sidd.read_blocks(small / "BenchmarkNoisyBlocksSrgb.mat")
    blocks = np.zeros((2, 3, 8, 8, 3), np.uint8)
    file = small / "BenchmarkNoisyBlocksSrgb.mat"
    scipy.io.savemat(file, dict(BenchmarkNoisyBlocksSrgb=blocks))
    dataset = sidd.SIDDBlocks(data_root=str(small), noisy_file=file.name, gt_file=None)
    assert "gt" not in dataset[0]


def test_submission_round_trip(dataset, small, tmp_path):
    out = tmp_path / "SubmitSrgb.mat"
    metric = METRICS.build(
        dict(
            type="mmext.SIDDSubmission",
            out_file=str(out),
            seconds_per_megapixel=1.5,
            description=dict(MethodName="none", Authors="us"),
        )
    )
    metric.process({}, restored(dataset, [5, 0, 2, 1, 4, 3]))
    assert metric.evaluate(6) == {"sidd/blocks": 6}
    content = scipy.io.loadmat(out)
    assert content["DenoisedBlocksSrgb"].shape == (2, 3)
    noisy = sidd.read_blocks(small / "ValidationNoisyBlocksSrgb.mat")
    for place in np.ndindex(2, 3):
        block = content["DenoisedBlocksSrgb"][place]
        assert block.dtype == np.uint8
        np.testing.assert_array_equal(block, noisy[place])
    assert content["TimeMPSrgb"].item() == 1.5
    assert content["OptionalData"]["Authors"].item().item() == "us"


def test_incomplete_submission_is_not_written(dataset, tmp_path):
    out = tmp_path / "SubmitSrgb.mat"
    metric = sidd.SIDDSubmission(out_file=str(out))
    metric.process({}, restored(dataset, [0, 1, 2, 4, 5]))
    with pytest.raises(ValueError, match=r"1 of 6 blocks are missing, the first is 3"):
        metric.evaluate(5)
    assert not out.exists()


def test_values_are_rounded_not_cut(dataset, tmp_path):
    metric = sidd.SIDDSubmission()
    sample = dict(block=0, pred_img=torch.full((3, 8, 8), 99.6 / 255))
    metric.process({}, [sample])
    assert metric.results[0][1].min() == 100


def test_writer_refuses_other_arrays(small, tmp_path):
    with pytest.raises(ValueError, match="Expected uint8"):
        sidd.write_submission(
            tmp_path / "a.mat", np.zeros((2, 3, 8, 8, 3)), seconds_per_megapixel=0
        )


def test_faulty_files_are_named(small):
    with pytest.raises(FileNotFoundError, match=r"none\.mat does not exist"):
        sidd.read_blocks(small / "none.mat")
    (small / "ValidationGtBlocksSrgb.mat").write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(ValueError, match=r"ValidationGtBlocksSrgb\.mat is no MATLAB 5 file"):
        sidd.read_blocks(small / "ValidationGtBlocksSrgb.mat")
    scipy.io.savemat(small / "other.mat", dict(other=np.zeros((2, 3, 8, 8, 3))))
    with pytest.raises(ValueError, match=r"float64 of shape \(2, 3, 8, 8, 3\)"):
        sidd.read_blocks(small / "other.mat")
