"""A store of generated images, from which a discriminator gets older ones now and then."""

from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Keeps the last generated images, so that a discriminator does not forget them.

    While it fills, images pass through and are kept. Then each image is, with probability 1/2,
    exchanged for a random one of the store. The images are part of the state dict, and a training
    that is resumed goes on with them; a state dict without them fits as well.

    Args:
        size: How many images are kept; 0: none, images only pass through.

    Source: Shrivastava et al. (arXiv 1612.07828), section 2.3, in the form of CycleGAN (arXiv
    1703.10593) with its 50 images.
    """

    def __init__(self, size: int = 50) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Exchange images.

        Args:
            images: (B, C, H, W), all calls of one size.

        Returns:
            As many images, new or older ones.

        Raises:
            ValueError: The size is not that of the images in store.
        """
        images = images.detach()
        if self.size == 0:
            return images
        if not len(self.images):
            self.images = images.new_empty(0, *images.shape[1:])
        if images.shape[1:] != self.images.shape[1:]:
            raise ValueError(
                f"the image pool holds images of the shape {tuple(self.images.shape[1:])} and got "
                f"{tuple(images.shape[1:])}. Crop all images of the training to one size."
            )
        returned = images.clone()
        for i, image in enumerate(images):
            if len(self.images) < self.size:
                self.images = torch.cat((self.images, image[None]))
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                returned[i] = self.images[place]
                self.images[place] = image
        return returned

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take as many images of any size as there are."""
        loaded = state_dict.setdefault(prefix + "images", self.images.new_empty(0))
        self.images = torch.empty_like(loaded, device=self.images.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
