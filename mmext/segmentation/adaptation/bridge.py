"""Showing images of one domain as another one would look, within the batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmext.registry import MODELS

from .preprocessor import MultiDomainDataPreprocessor
from .wrapper import split_domains

_MIN_DEVIATION = 1e-5
# sRGB with white D65, as OpenCV has it; rows are X, Y and Z divided by those of white.
_XYZ_OF_BGR = (
    (0.180423 / 0.950456, 0.357580 / 0.950456, 0.412453 / 0.950456),
    (0.072169, 0.715160, 0.212671),
    (0.950227 / 1.088754, 0.119193 / 1.088754, 0.019334 / 1.088754),
)
_KNEE = 216 / 24389
_SLOPE = 24389 / 27


def bgr_to_lab(image: Tensor) -> Tensor:
    """Return an image in CIE LAB.

    Args:
        image: (3, H, W) float BGR in [0, 1], sRGB.

    Returns:
        (3, H, W): lightness in [0, 100], and the two colour channels.
    """
    linear = torch.where(image > 0.04045, ((image + 0.055) / 1.055).pow(2.4), image / 12.92)
    xyz = torch.einsum("ij,jhw->ihw", image.new_tensor(_XYZ_OF_BGR), linear)
    roots = xyz.clamp(min=_KNEE).pow(1 / 3)
    fx, fy, fz = torch.where(xyz > _KNEE, roots, (_SLOPE * xyz + 16) / 116)
    return torch.stack((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)))


def lab_to_bgr(lab: Tensor) -> Tensor:
    """Return an image in sRGB; colours that sRGB does not have are cut.

    Args:
        lab: (3, H, W) as of :func:`bgr_to_lab`.

    Returns:
        (3, H, W) float BGR in [0, 1].
    """
    fy = (lab[0] + 16) / 116
    f = torch.stack((fy + lab[1] / 500, fy, fy - lab[2] / 200))
    xyz = torch.where(f > _KNEE ** (1 / 3), f.pow(3), (116 * f - 16) / _SLOPE)
    back = torch.linalg.inv(lab.new_tensor(_XYZ_OF_BGR))
    linear = torch.einsum("ij,jhw->ihw", back, xyz).clamp(0, 1)
    curved = 1.055 * linear.clamp(min=0.0031308).pow(1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear)


@MODELS.register_module()
class LABBridge(nn.Module):
    """Gives an image the mean and spread of another one's colours in LAB.

    :func:`mmext.segmentation.datasets.style.lab_statistics_transfer` for tensors: wherever they
    are, and without rounding.

    Args:
        ratio_range: Bounds on the change of each channel's spread: without them images of little
            colour, such as fog, get artefacts.
        keep_lightness: Whether to change the two colour channels only.

    Source: Reinhard et al., "Color Transfer between Images", 2001.
    """

    def __init__(
        self, *, ratio_range: tuple[float, float] = (0.5, 2.0), keep_lightness: bool = False
    ) -> None:
        super().__init__()
        self.ratio_range = tuple(ratio_range)
        self.keep_lightness = keep_lightness

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """Re-colour an image.

        Args:
            image: (3, H, W) BGR in [0, 255], integers or floats.
            reference: (3, h, w) BGR in [0, 255], of the domain that the image shall look like.

        Returns:
            (3, H, W) float32 BGR in [0, 255].
        """
        lab, other = (bgr_to_lab(picture.float() / 255) for picture in (image, reference))
        (std, mean), (other_std, other_mean) = (
            torch.std_mean(x, dim=(1, 2), keepdim=True, correction=0) for x in (lab, other)
        )
        ratio = (other_std / std.clamp(min=_MIN_DEVIATION)).clamp(*self.ratio_range)
        moved = (lab - mean) * ratio + other_mean
        if self.keep_lightness:
            moved[0] = lab[0]
        return 255 * lab_to_bgr(moved)


def view_name(domain: str, style: str) -> str:
    """Return the name of what images of a domain are called in the style of another."""
    return f"{domain}>{style}"


class BridgingDataPreprocessor(MultiDomainDataPreprocessor):
    """Adds to a batch what sources look like as each target, and each target as the others.

    Image k of a batch gets the style of image k of the other domain: the sampler has shuffled
    both. A view is preprocessed as the images of its style are. The images of the sources
    themselves leave the batch: nothing looks at them.

    Args:
        default: As for :class:`MultiDomainDataPreprocessor`.
        domains: Likewise.
        bridge: From image and reference, (3, H, W) BGR in [0, 255], to the image in the style of
            the reference. None: views are the images as they are.
        from_sources: Whether to add views of the sources.
        between_targets: Whether to add views of the targets.
    """

    def __init__(
        self,
        *,
        default: nn.Module,
        domains: Mapping[str, nn.Module],
        bridge: nn.Module | None,
        from_sources: bool = True,
        between_targets: bool = True,
    ) -> None:
        super().__init__(default=default, domains=domains)
        self.bridge = bridge
        self.from_sources = from_sources
        self.between_targets = between_targets

    def forward(self, data: dict, training: bool = False) -> dict:
        """Preprocess a batch, with views while training.

        Args:
            data: As for :class:`MultiDomainDataPreprocessor`.
            training: Whether to add the views, which are named by :func:`view_name`.

        Returns:
            ``inputs``, (B, 3, H, W), and ``data_samples`` by the name of a target or view.
        """
        return super().forward(self._with_views(data) if training else data, training)

    def of_domain(self, name: str) -> nn.Module:
        """Return the preprocessor of a target or of a view, which is that of its style."""
        return super().of_domain(name.rpartition(">")[2])

    @torch.no_grad()
    def _with_views(self, data: dict) -> dict:
        samples = data["data_samples"]
        sources, targets = split_domains(samples)
        images: dict[str, Sequence[Tensor]] = self.cast_data(data["inputs"])
        pairs = [(s, t) for s in sources for t in targets if self.from_sources]
        pairs += [(s, t) for s in targets for t in targets if s != t and self.between_targets]
        batch: dict[str, dict[str, Any]] = dict(
            inputs={name: images[name] for name in targets},
            data_samples={name: samples[name] for name in targets},
        )
        for domain, style in pairs:
            name = view_name(domain, style)
            batch["inputs"][name] = self._views(images[domain], images[style])
            batch["data_samples"][name] = samples[domain]
        return batch

    def _views(self, images: Sequence[Tensor], references: Sequence[Tensor]) -> list[Tensor]:
        if self.bridge is None:
            return list(images)
        return [self.bridge(*pair) for pair in zip(images, references, strict=True)]
