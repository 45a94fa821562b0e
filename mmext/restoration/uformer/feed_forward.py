"""The feed-forward layers of a LeWin block, with the norm in front of them."""

from torch import Tensor, nn
from torch.nn import functional

from ...ops import gelu_dwconv_gelu
from .pieces import Piece, pays, piece_numel, ranges, run_in_pieces

_PIECE_COLUMNS = 256
_ALL = (slice(None), slice(None))


class FeedForward(nn.Module):
    """Norm, linear, GELU and linear, on each token alone (``token_mlp="ffn"``).

    Args:
        dim (int): Channels C of the tokens.
        ratio (int): Hidden channels per channel.
    """

    # How far around a token its output looks.
    halo = 0

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor, inner: tuple[slice, slice] = _ALL) -> Tensor:
        """Compute the layer on (B, H, W, C) maps.

        Args:
            x (Tensor): (B, H, W, C).
            inner (tuple[slice, slice]): Rows and columns that are wanted; the others are there
                because these depend on them.

        Returns:
            Tensor: (B, rows, columns, C).
        """
        hidden = self._activate(self.fc1(self.norm(x)))
        return self.fc2(hidden[:, inner[0], inner[1]])

    def _activate(self, hidden: Tensor) -> Tensor:
        return functional.gelu(hidden)


class LeFF(FeedForward):
    """Locally-enhanced feed-forward: a depth-wise convolution amid the hidden channels.

    Uformer, section 3.2. The convolution sees the whole map, also beyond the borders of windows.

    Args:
        dim (int): Channels C of the tokens.
        ratio (int): Hidden channels per channel.
    """

    halo = 1

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__(dim, ratio)
        self.dwconv = nn.Conv2d(ratio * dim, ratio * dim, 3, padding=1, groups=ratio * dim)

    def _activate(self, hidden: Tensor) -> Tensor:
        return gelu_dwconv_gelu(hidden, self.dwconv.weight, self.dwconv.bias)


def feed_forward(layer: FeedForward, x: Tensor) -> Tensor:
    """Apply a feed-forward layer to maps, without gradients in pieces where that pays.

    Args:
        layer (FeedForward): The layer.
        x (Tensor): (B, H, W, C).

    Returns:
        Tensor: (B, H, W, C).
    """
    batch, height, width, _ = x.shape
    hidden = layer.fc1.out_features
    if not pays(x, batch * height * width * hidden):
        return layer(x)
    tokens = piece_numel() // hidden
    # Whole images if they are small, else parts of one whose border is short for their area.
    images = tokens // (height * width)
    columns = width if images else min(width, _PIECE_COLUMNS)
    rows = height if images else tokens // columns
    pieces = [
        _piece(layer.halo, slice(*of_images), (height, width), of_rows, of_columns)
        for of_images in ranges(batch, images)
        for of_rows in ranges(height, rows)
        for of_columns in ranges(width, columns)
    ]
    return run_in_pieces(layer, x, pieces)


def _piece(
    halo: int,
    images: slice,
    size: tuple[int, int],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> Piece:
    """Return the piece whose output is some rows and columns of some images."""
    outer, inner = [], []
    for length, (begin, end) in zip(size, (rows, columns), strict=True):
        first, last = max(begin - halo, 0), min(end + halo, length)
        outer.append(slice(first, last))
        inner.append(slice(begin - first, end - first))
    target = (images, slice(*rows), slice(*columns))
    return Piece(source=(images, *outer), target=target, args=(tuple(inner),))


FEED_FORWARDS: dict[str, type[FeedForward]] = {"leff": LeFF, "ffn": FeedForward}
