import itertools

import pytest
import torch
from mmdet.models.utils import get_local_maximum, get_topk_from_heatmap

from mmext.detection.keypoints.corner_decode import pair_corners
from mmext.detection.keypoints.peaks import Peaks, find_peaks


def test_peaks_by_hand():
    heat = torch.zeros(1, 2, 4, 5)
    heat[0, 1, 2, 3] = 0.9
    heat[0, 1, 2, 4] = 0.8  # beside a better cell, so no peak
    heat[0, 0, 0, 0] = 0.7
    peaks = find_peaks(heat, num_peaks=2)
    assert peaks.labels.tolist() == [[1, 0]]
    assert peaks.points.tolist() == [[[3, 2], [0, 0]]]
    assert peaks.cells.tolist() == [[13, 0]]
    torch.testing.assert_close(peaks.scores, torch.tensor([[0.9, 0.7]]))
    maps = torch.arange(40.0).view(1, 2, 4, 5)
    assert peaks.gather(maps).tolist() == [[[13, 33], [0, 20]]]


def test_maps_in_channels_last_memory():
    heat = torch.rand(2, 3, 6, 5)
    found = find_peaks(heat.contiguous(memory_format=torch.channels_last), num_peaks=9)
    for part, expected in zip(found, find_peaks(heat, num_peaks=9), strict=True):
        assert torch.equal(part, expected)


@pytest.mark.parametrize("shape", [(2, 5, 40, 30), (3, 4, 1, 2), (1, 1, 50, 3), (1, 9, 2, 60)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_peaks_as_mmdet_finds_them(shape, kernel):
    heat = (torch.randperm(torch.Size(shape).numel()) + 1.0).view(shape)
    found = find_peaks(heat, num_peaks=60, kernel=kernel)
    maxima = get_local_maximum(heat, kernel).contiguous()
    scores, cells, labels, ys, xs = get_topk_from_heatmap(maxima, k=min(60, maxima[0].numel()))
    peaks = scores > 0  # others have no order
    assert torch.equal(found.scores, scores)
    assert torch.equal(found.cells[peaks], cells[peaks])
    assert torch.equal(found.labels[peaks], labels[peaks])
    assert torch.equal(found.points[peaks], torch.stack((xs, ys), -1)[peaks].float())


def test_fewer_cells_than_peaks_and_constant_maps():
    peaks = find_peaks(torch.full((2, 1, 2, 3), 0.5), num_peaks=70)
    assert peaks.scores.shape == (2, 6)
    assert (peaks.scores == 0.5).all()


def test_pairs_as_in_a_loop():
    batch, k, m = 2, 9, 7

    def corners(count: int) -> Peaks:
        return Peaks(
            torch.rand(batch, count),
            torch.randint(2, (batch, count)),
            torch.zeros(batch, count),
            torch.randint(6, (batch, count, 2)).float(),
        )

    tl, br = corners(k), corners(m)
    distance = torch.rand(batch, k, m)
    pairs = pair_corners(tl, br, tl.points, br.points, num_pairs=k * m, tag_distance=distance)
    for i in range(batch):
        expected = []
        for a, b in itertools.product(range(k), range(m)):
            same = tl.labels[i, a] == br.labels[i, b]
            if same and (br.points[i, b] >= tl.points[i, a]).all() and distance[i, a, b] <= 0.5:
                score = (tl.scores[i, a] + br.scores[i, b]) / 2
                expected.append(
                    (score.item(), *tl.points[i, a].tolist(), *br.points[i, b].tolist())
                )
        expected.sort(reverse=True)
        good = pairs.scores[i] > -1
        found = torch.cat((pairs.scores[i, :, None], pairs.boxes[i]), -1)[good]
        torch.testing.assert_close(found, torch.tensor(expected))
        torch.testing.assert_close(pairs.corner_scores[i].mean(-1)[good], pairs.scores[i][good])
