"""The way in which the official test scripts feed images that are no squares of the right size."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional


def on_square_canvas(network: Callable[[Tensor], Tensor], x: Tensor, multiple: int) -> Tensor:
    """Restore images in the middle of a black square.

    The network sees the black as part of the image; the scripts use no mask. Useful only to
    reproduce published figures.

    Args:
        network (Callable[[Tensor], Tensor]): Maps (B, C, S, S) to (B, 3, S, S).
        x (Tensor): (B, C, H, W).
        multiple (int): The side S is the least multiple of this that both sides of ``x`` fit into.

    Returns:
        Tensor: (B, 3, H, W).
    """
    height, width = x.shape[-2:]
    side = -(-max(height, width) // multiple) * multiple
    top, left = (side - height) // 2, (side - width) // 2
    square = functional.pad(x, (left, side - width - left, top, side - height - top))
    return network(square)[..., top : top + height, left : left + width]
