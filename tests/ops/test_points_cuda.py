"""The CUDA kernels of the ops on points and 3-D boxes: they compile, and equal those of the CPU."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from point_samples import CLOUDS, cloud
from test_box3d_iou import boxes, weighted_gradients
from test_nms3d import candidates

from mmext.ops import (
    ball_query,
    box3d_iou,
    furthest_point_sample,
    knn,
    nms3d,
    points_in_boxes,
    three_nn,
)

CSRC = Path(__file__).parents[2] / "mmext" / "csrc"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DTYPES = (torch.float32, torch.float64)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc (a CUDA toolkit) is not installed")
@pytest.mark.parametrize("name", ["points", "boxes3d"])
def test_cuda_kernels_compile_without_torch(name, tmp_path):
    source = CSRC / name / f"{name}.cu"
    command = ["nvcc", "-std=c++20", f"-I{CSRC}", "-c", source, "-o", tmp_path / f"{name}.o"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", CLOUDS)
def test_points_on_cuda_equal_those_of_the_cpu(kind, dtype):
    xyz, centres = cloud(kind, 3000, dtype=dtype), cloud("random", 50, dtype=dtype, seed=1)
    calls = [
        lambda points, _: furthest_point_sample(points, 200, start=5),
        lambda points, _: furthest_point_sample(points, 200, skip_origin=True),
        lambda points, centre: ball_query(0, 0.8, 16, points, centre),
        lambda points, centre: knn(20, points, centre),
        lambda points, centre: three_nn(centre, points)[1],
    ]
    for call in calls:
        assert call(xyz.cuda(), centres.cuda()).cpu().equal(call(xyz, centres))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_boxes_on_cuda_equal_those_of_the_cpu(dtype):
    tolerance = dict(rtol=1e-9, atol=1e-9) if dtype == torch.float64 else dict(rtol=1e-2, atol=1e-3)
    a, b = boxes(200, dtype), boxes(100, dtype, seed=1)
    a[:10] = b[:10]
    torch.testing.assert_close(box3d_iou(a.cuda(), b.cuda()).cpu(), box3d_iou(a, b), **tolerance)
    on_gpu = weighted_gradients(box3d_iou, a.cuda(), b.cuda())
    torch.testing.assert_close(on_gpu.cpu(), weighted_gradients(box3d_iou, a, b), **tolerance)
    points = cloud("random", 5000, dtype=dtype)[0]
    assert points_in_boxes(points.cuda(), a.cuda()).cpu().equal(points_in_boxes(points, a))
    box, scores, labels = candidates(500, dtype)
    kept = nms3d(box.cuda(), scores.cuda(), 0.2, labels=labels.cuda())
    assert kept.cpu().equal(nms3d(box, scores, 0.2, labels=labels))
