import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmext.restoration.tiling import tile_starts, tiled_forward


@given(st.integers(1, 300), st.integers(2, 64), st.data())
def test_tiles_cover_and_share_the_overlap(length, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    starts = tile_starts(length, tile, overlap)
    ends = [start + min(tile, length) for start in starts]
    assert starts[0] == 0
    assert ends[-1] == length
    assert all(end - start >= overlap for end, start in zip(ends, starts[1:], strict=False))
    assert starts == sorted(set(starts))


@settings(deadline=None, max_examples=25)
@given(st.integers(5, 50), st.integers(5, 50), st.integers(4, 20), st.integers(4, 20))
def test_pointwise_network_is_exact(height, width, tile_height, tile_width):
    image = torch.rand(2, 3, height, width)
    result = tiled_forward(lambda x: 2 * x[:, :2] - 1, image, (tile_height, tile_width), overlap=3)
    torch.testing.assert_close(result, 2 * image[:, :2] - 1)


def test_only_tiles_are_seen():
    seen = []

    def network(part):
        seen.append(tuple(part.shape))
        return part

    tiled_forward(network, torch.rand(1, 3, 70, 40), 32, overlap=8)
    assert set(seen) == {(1, 3, 32, 32)}
    assert len(seen) == 3 * 2


def test_overlap_hides_what_differs_at_the_rim():
    """Zero padding disturbs a convolution at each tile's rim; a wide overlap keeps it small."""
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        whole = network(image)
        errors = [
            (tiled_forward(network, image, 32, overlap) - whole).abs().max().item()
            for overlap in (0, 16)
        ]
    # Three convolutions reach three pixels; the outer quarter of 16 hides them.
    assert errors[0] > 0.01
    assert errors[1] < 1e-5


def test_half_precision_is_blended_in_float32():
    result = tiled_forward(lambda x: x.bfloat16(), torch.rand(1, 3, 40, 40), 16, overlap=4)
    assert result.dtype == torch.float32


def test_progress_counts_tiles():
    calls = []
    tiled_forward(
        lambda x: x, torch.rand(1, 3, 48, 32), 32, 8, progress=lambda *call: calls.append(call)
    )
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.parametrize("overlap", [-1, 16])
def test_impossible_overlap_is_refused(overlap):
    with pytest.raises(ValueError, match=r"overlap .* with tiles of 16x16"):
        tiled_forward(lambda x: x, torch.rand(1, 3, 48, 32), 16, overlap)
