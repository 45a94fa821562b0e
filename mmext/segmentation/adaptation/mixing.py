"""Images made of two: which pixels are of which, and what they look like."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.dataset import Compose
from torch import Tensor, nn

from ..datasets.class_sets import IGNORE


def class_mask(labels: Tensor, num_classes: int) -> Tensor:
    """Choose half of the classes of each image at random, rounded up.

    Args:
        labels: (B, H, W) int64, 255 where there is none.
        num_classes: Number of classes, C.

    Returns:
        (B, H, W) bool, true where a pixel is of a chosen class.

    Source: ClassMix (Olsson et al., WACV 2021) and DACS (Tranheden et al., WACV 2021), where the
    labels are those of the source.
    """
    flat = labels.flatten(1)
    # The last column takes the pixels without a label; they are never chosen.
    index = flat.masked_fill(flat == IGNORE, num_classes)
    shape = (len(flat), num_classes + 1)
    present = torch.zeros(shape, dtype=torch.bool, device=labels.device).scatter_(1, index, True)
    present[:, -1] = False
    scores = torch.rand(shape, device=labels.device).masked_fill(~present, -1.0)
    rank = scores.argsort(1, descending=True).argsort(1)
    chosen = present & (rank < (present.sum(1, keepdim=True) + 1) // 2)
    return chosen.gather(1, index).view_as(labels)


def rectangle_mask(count: int, size: Sequence[int], device: torch.device) -> Tensor:
    """Choose a rectangle of half the area in each image, of any proportion and place.

    Args:
        count: Number of images, B.
        size: (H, W) of the images.
        device: Where to make it.

    Returns:
        (B, H, W) bool, true inside.

    Source: CutMix for segmentation (French et al., BMVC 2020), section 4: half the area, proportion
    and place at random.
    """
    high = torch.exp(torch.rand(count, device=device) * math.log(0.5))
    sides = torch.stack((high, 0.5 / high), 1) * torch.tensor(size, device=device)
    sides = sides.round()
    room = torch.tensor(size, device=device) - sides
    begin = (torch.rand(count, 2, device=device) * (room + 1)).floor()
    end = begin + sides
    rows, columns = (torch.arange(length, device=device) for length in size)
    inside = [
        (line >= begin[:, axis, None]) & (line < end[:, axis, None])
        for axis, line in enumerate((rows, columns))
    ]
    return inside[0][:, :, None] & inside[1][:, None, :]


def mixed(mask: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """Return one map inside of a mask and another outside.

    Args:
        mask: (B, H, W) bool.
        inside: (B, H, W) or (B, 3, H, W).
        outside: Of the same shape.

    Raises:
        ValueError: The two have different shapes.
    """
    if inside.shape != outside.shape:
        raise ValueError(
            f"images of {tuple(inside.shape)} and {tuple(outside.shape)} cannot be mixed. Expected "
            "the same size of both domains: add RandomCrop with the same crop_size (and Resize "
            "where images are smaller) to both pipelines in train_dataloader.dataset."
        )
    return torch.where(mask if inside.dim() == 3 else mask[:, None], inside, outside)


class StrongAugmentation:
    """Transforms of mmseg's or mmcv's on images that are in a batch already.

    Images go back to bytes in the order blue, green, red, through the transforms, and are
    normalised again. On an accelerator that is a copy to the processor and back.

    Args:
        transforms: Configs of transforms that change colours only, such as
            ``dict(type='PhotoMetricDistortion')``.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        self.transforms = Compose(list(transforms))

    def __call__(self, images: Tensor, preprocessor: nn.Module) -> Tensor:
        """Change the colours of images.

        Args:
            images: (B, 3, H, W), preprocessed.
            preprocessor: mmseg's ``SegDataPreProcessor`` that they went through.

        Returns:
            (B, 3, H, W), preprocessed.

        Raises:
            ValueError: A transform changed the size of an image.
        """
        if not self.transforms.transforms:
            return images
        # mmseg's preprocessor has no way back of its own.
        scaled, flipped = preprocessor._enable_normalize, preprocessor._channel_conversion
        pixels = images * preprocessor.std + preprocessor.mean if scaled else images
        pixels = pixels.flip(1) if flipped else pixels
        pixels = pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        changed = np.stack([self._change(np.ascontiguousarray(picture)) for picture in pixels])
        pixels = torch.from_numpy(changed).to(images.device).permute(0, 3, 1, 2).to(images.dtype)
        pixels = pixels.flip(1) if flipped else pixels
        return (pixels - preprocessor.mean) / preprocessor.std if scaled else pixels

    def _change(self, picture: np.ndarray) -> np.ndarray:
        shape = picture.shape
        changed = self.transforms(dict(img=picture, img_shape=shape[:2], ori_shape=shape[:2]))
        if changed["img"].shape != shape:
            raise ValueError(
                f"model.strong_augmentation makes images of {changed['img'].shape} out of {shape}. "
                "Expected transforms that change colours only, such as PhotoMetricDistortion."
            )
        return changed["img"]
