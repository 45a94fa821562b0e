"""The feed-forward layers of a LeWin block, with the norm in front of them."""

from torch import Tensor, nn
from torch.nn import functional

from .pieces import PIECE_NUMEL, Piece, pays, ranges, run_in_pieces


class FeedForward(nn.Module):
    """Norm, linear, GELU and linear, on each token alone (``token_mlp="ffn"``).

    Args:
        dim (int): Channels C of the tokens.
        ratio (int): Hidden channels per channel.
    """

    # Rows above and below that an output depends on.
    halo = 0

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor, top: int = 0, bottom: int = 0) -> Tensor:
        """Compute the layer on (B, H, W, C) maps.

        Args:
            x (Tensor): (B, H, W, C).
            top (int): Rows at the top that only their neighbours need.
            bottom (int): Rows at the bottom that only their neighbours need.

        Returns:
            Tensor: (B, H - top - bottom, W, C).
        """
        hidden = functional.gelu(self.fc1(self.norm(x)))
        return self.fc2(self._mix(hidden, top, bottom))

    def _mix(self, hidden: Tensor, top: int, bottom: int) -> Tensor:
        return hidden[:, top : hidden.shape[1] - bottom]


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

    def _mix(self, hidden: Tensor, top: int, bottom: int) -> Tensor:
        # The permuted view is a map in channels-last memory, so nothing is copied.
        hidden = self.dwconv(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return functional.gelu(super()._mix(hidden, top, bottom))


def feed_forward(layer: FeedForward, x: Tensor) -> Tensor:
    """Apply a feed-forward layer to maps, in pieces where that pays.

    Args:
        layer (FeedForward): The layer.
        x (Tensor): (B, H, W, C).

    Returns:
        Tensor: (B, H, W, C).
    """
    batch, height, width, _ = x.shape
    per_row = width * layer.fc1.out_features
    if not pays(x, batch * height * per_row):
        return layer(x)
    pieces, images = [], PIECE_NUMEL // (height * per_row)
    for first, last in ranges(batch, images):
        for begin, end in ranges(height, PIECE_NUMEL // per_row if images == 0 else height):
            top, bottom = min(layer.halo, begin), min(layer.halo, height - end)
            pieces.append(
                Piece(
                    source=(slice(first, last), slice(begin - top, end + bottom)),
                    target=(slice(first, last), slice(begin, end)),
                    args=(top, bottom),
                )
            )
    return run_in_pieces(layer, x, pieces)


FEED_FORWARDS: dict[str, type[FeedForward]] = {"leff": LeFF, "ffn": FeedForward}
