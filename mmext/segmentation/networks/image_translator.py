"""CycleGAN with a semantic term: a model that translates images between two domains."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from mmengine.model import BaseModel, BaseModule, ImgDataPreprocessor, is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.structures import BaseDataElement
from mmseg.utils import ConfigType
from torch import Tensor, nn
from torch.nn import functional

from mmext.engine import frozen
from mmext.registry import MODELS

from .adversarial_loss import adversarial_loss
from .image_pool import ImagePool

Direction = Literal["a2b", "b2a"]
_DIRECTIONS = ("a2b", "b2a")
_KEYS = ("generators", "discriminators")


@MODELS.register_module()
class TranslationDataPreprocessor(ImgDataPreprocessor):
    """Turn images as they are read (BGR, 0 to 255) into RGB in [-1, 1], for one or several domains.

    Args:
        non_blocking: As for mmengine's ``ImgDataPreprocessor``.
    """

    def __init__(self, non_blocking: bool = False) -> None:
        super().__init__([127.5] * 3, [127.5] * 3, bgr_to_rgb=True, non_blocking=non_blocking)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Preprocess.

        Args:
            data: With ``inputs``: (3, H, W) images, or such by the name of their domain.
            training: Not used.

        Returns:
            The data with ``inputs`` (B, 3, H, W), or a dict of such.
        """
        inputs = data["inputs"]
        if not isinstance(inputs, Mapping):
            return super().forward(dict(data), training)
        images = {
            name: super(TranslationDataPreprocessor, self).forward(dict(inputs=images))["inputs"]
            for name, images in inputs.items()
        }
        return dict(data, inputs=images)


class _Generators(BaseModule):
    """Both generators, run in one ``forward`` so that DistributedDataParallel can wrap them."""

    def __init__(self, a2b: ConfigType, b2a: ConfigType) -> None:
        super().__init__()
        self.a2b = MODELS.build(a2b)
        self.b2a = MODELS.build(b2a)

    def forward(self, real_a: Tensor, real_b: Tensor, identity: bool) -> dict[str, Tensor]:
        """Translate images of both domains there and back.

        Args:
            real_a: (B, 3, H, W) in [-1, 1].
            real_b: Likewise, of the other domain.
            identity: Whether each generator also gets what already is of its domain.
        """
        fake_b, fake_a = self.a2b(real_a), self.b2a(real_b)
        made = dict(fake_a=fake_a, fake_b=fake_b, back_a=self.b2a(fake_b), back_b=self.a2b(fake_a))
        if identity:
            made.update(same_a=self.b2a(real_a), same_b=self.a2b(real_b))
        return made


class _Discriminators(BaseModule):
    """One discriminator for the images of each domain."""

    def __init__(self, a: ConfigType, b: ConfigType) -> None:
        super().__init__()
        self.a = MODELS.build(a)
        self.b = MODELS.build(b)

    def forward(self, images_a: Sequence[Tensor], images_b: Sequence[Tensor]) -> list[list[Tensor]]:
        """Return the scores of images that are, or should be, of domain A, and of B."""
        return [[self.a(x) for x in images_a], [self.b(x) for x in images_b]]


@MODELS.register_module()
class ImageTranslator(BaseModel):
    """CycleGAN (arXiv 1703.10593), optionally with the semantic term of BDL (arXiv 1904.10620).

    Domain A is the source of an adaptation, domain B its target. Two generators are trained to
    deceive a discriminator each, by least squares (LSGAN), such that an image translated there and
    back is the same, and an image of their own domain stays as it is. The semantic term also keeps
    what a segmentation network sees in it.

    One call of :meth:`train_step` first updates the generators against discriminators that stand
    still, then the discriminators on the same images, through two optimisers called ``generators``
    and ``discriminators``.

    Args:
        generators: Configs of two generators, ``dict(a2b=..., b2a=...)``.
        discriminators: Configs of two discriminators, ``dict(a=..., b=...)``, by the domain whose
            images they know. (The official ``netD_A`` is ``b``: it judges the output of ``G_A``.)
        domains: Names of A and B in the ``inputs`` of a training batch.
        cycle_weight: Factor on the L1 distance of an image from its way there and back.
        identity_weight: Factor, relative to ``cycle_weight``, on the L1 distance of an image from
            what its own domain's generator makes of it. 0 saves two passes, but costs BDL two
            points of mIoU.
        semantic: Config of a :class:`SemanticTerm`; None: plain CycleGAN.
        pool_size: See :class:`ImagePool`.
        direction: What ``mode='tensor'`` and ``'predict'`` do: ``'a2b'`` or ``'b2a'``.
        data_preprocessor: Config; it has to make RGB in [-1, 1].
        init_cfg: As for :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: Wrong keys or direction.
    """

    model_wrapper_cfg: ClassVar[dict] = dict(type="MMSeparateDistributedDataParallel")
    """How mmext's runner wraps the model on several processes."""

    def __init__(
        self,
        *,
        generators: dict[str, ConfigType],
        discriminators: dict[str, ConfigType],
        domains: Sequence[str] = ("source", "target"),
        cycle_weight: float = 10.0,
        identity_weight: float = 0.5,
        semantic: ConfigType | None = None,
        pool_size: int = 50,
        direction: Direction = "a2b",
        data_preprocessor: ConfigType = dict(type="mmext.TranslationDataPreprocessor"),
        init_cfg: ConfigType | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        _check_keys("generators", generators, _DIRECTIONS)
        _check_keys("discriminators", discriminators, ("a", "b"))
        self.generators = _Generators(**generators)
        self.discriminators = _Discriminators(**discriminators)
        self.domain_a, self.domain_b = domains
        self.cycle_weight = cycle_weight
        self.identity_weight = identity_weight
        self.semantic = None if semantic is None else MODELS.build(semantic)
        self.pools = nn.ModuleDict({domain: ImagePool(pool_size) for domain in "ab"})
        self.direction = _checked(direction)

    def forward(
        self,
        inputs: Tensor | dict[str, Tensor],
        data_samples: list[BaseDataElement] | None = None,
        mode: str = "tensor",
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """Translate, learn, or predict.

        Args:
            inputs: (B, 3, H, W) RGB in [-1, 1]; for ``'loss'`` one such for each domain's name.
            data_samples: For ``'predict'``, one per image; None makes new ones.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Returns:
            ``'tensor'``: (B, 3, H, W) in [-1, 1]. ``'loss'``: all losses by name. ``'predict'``:
            the samples with ``pred_img``, (3, H, W) RGB float32 in [0, 1].

        Raises:
            ValueError: Another mode.
        """
        if mode == "tensor":
            return self.translate(inputs)
        if mode == "loss":
            losses, made = self.generator_losses(inputs)
            return losses | self.discriminator_losses(inputs, made)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode {mode!r}: expected 'tensor', 'loss' or 'predict'")

    def translate(self, images: Tensor, direction: Direction | None = None) -> Tensor:
        """Translate images.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].
            direction: ``'a2b'`` or ``'b2a'``; None: the model's own.

        Returns:
            (B, 3, H, W) RGB in [-1, 1].

        Raises:
            ValueError: Another direction.
        """
        generators = _unwrapped(self.generators)
        return getattr(generators, _checked(direction or self.direction))(images)

    @torch.no_grad()
    def predict(
        self, inputs: Tensor, data_samples: list[BaseDataElement] | None = None
    ) -> list[BaseDataElement]:
        """Translate images in the model's direction.

        Args:
            inputs: (B, 3, H, W) RGB in [-1, 1].
            data_samples: One per image; None makes new ones.

        Returns:
            The samples with ``pred_img``, (3, H, W) RGB float32 in [0, 1].
        """
        translated = (self.translate(inputs).float() + 1) / 2
        if data_samples is None:
            data_samples = [BaseDataElement() for _ in translated]
        for sample, image in zip(data_samples, translated, strict=True):
            sample.pred_img = image
        return data_samples

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """Update the generators, then the discriminators.

        Args:
            data: A batch with ``inputs`` by the names of both domains.
            optim_wrapper: With ``generators`` and ``discriminators``.

        Returns:
            The losses for the log.

        Raises:
            ValueError: ``optim_wrapper`` has other keys.
        """
        _check_keys("optim_wrapper", dict(getattr(optim_wrapper, "optim_wrappers", {})), _KEYS)
        by_generators, by_discriminators = (optim_wrapper[key] for key in _KEYS)
        with by_generators.optim_context(self.generators):
            inputs = self.data_preprocessor(data, training=True)["inputs"]
            losses, made = self.generator_losses(inputs)
            total, logged = self.parse_losses(losses)
        by_generators.update_params(total)
        with by_discriminators.optim_context(self.discriminators):
            losses = self.discriminator_losses(inputs, made)
            total, logged_too = self.parse_losses(losses)
        by_discriminators.update_params(total)
        logged["loss"] = logged["loss"] + logged_too.pop("loss")
        return logged | logged_too

    def generator_losses(
        self, inputs: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what the generators learn from; no gradient reaches the discriminators.

        Args:
            inputs: (B, 3, H, W) RGB in [-1, 1] for each domain's name.

        Returns:
            The losses by name, and the images that were made: ``fake_a``, ``fake_b``, ``back_a``,
            ``back_b`` and, if there is an identity term, ``same_a``, ``same_b``.

        Raises:
            ValueError: A domain is missing.
        """
        real_a, real_b = self._both(inputs)
        made = self.generators(real_a, real_b, self.identity_weight > 0)
        discriminators = _unwrapped(self.discriminators)
        with frozen(discriminators):
            (score_a,), (score_b,) = discriminators([made["fake_a"]], [made["fake_b"]])
        losses = {}
        of_domain = dict(a=(real_a, "b", score_a), b=(real_b, "a", score_b))
        for domain, (real, other, score) in of_domain.items():
            losses[f"loss_gan_{domain}"] = adversarial_loss(score, 1, "lsgan")
            back = functional.l1_loss(made[f"back_{domain}"].float(), real)
            losses[f"loss_cycle_{domain}"] = self.cycle_weight * back
            if self.identity_weight > 0:
                same = functional.l1_loss(made[f"same_{domain}"].float(), real)
                weight = self.cycle_weight * self.identity_weight
                losses[f"loss_identity_{domain}"] = weight * same
            if self.semantic is not None:
                terms = self.semantic.losses(real, made[f"fake_{other}"], made[f"back_{domain}"])
                losses.update({f"{name}_{domain}": term for name, term in terms.items()})
        return losses, made

    def discriminator_losses(
        self, inputs: Mapping[str, Tensor], made: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return what the discriminators learn from; no gradient reaches the generators.

        Args:
            inputs: (B, 3, H, W) RGB in [-1, 1] for each domain's name.
            made: With ``fake_a`` and ``fake_b``, of which the pools keep some.

        Returns:
            For each domain half the loss of real images plus half that of made-up ones.
        """
        real_a, real_b = self._both(inputs)
        fake_b, fake_a = self.pools["b"](made["fake_b"]), self.pools["a"](made["fake_a"])
        scores = self.discriminators([real_a, fake_a], [real_b, fake_b])
        return {
            f"loss_discriminator_{domain}": 0.5
            * (adversarial_loss(real, 1, "lsgan") + adversarial_loss(fake, 0, "lsgan"))
            for domain, (real, fake) in zip("ab", scores, strict=True)
        }

    def _both(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the images of A and of B."""
        if not isinstance(inputs, Mapping) or not {self.domain_a, self.domain_b} <= inputs.keys():
            found = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
            raise ValueError(
                f"the batch has inputs {found}. ImageTranslator learns from a dict with "
                f"{self.domain_a!r} and {self.domain_b!r}: set model.domains to the names of the "
                "two domains of the data set."
            )
        return inputs[self.domain_a], inputs[self.domain_b]


def _unwrapped(module: nn.Module) -> nn.Module:
    return module.module if is_model_wrapper(module) else module


def _checked(direction: str) -> str:
    if direction not in _DIRECTIONS:
        raise ValueError(f"direction is {direction!r}, expected 'a2b' or 'b2a'")
    return direction


def _check_keys(what: str, given: Mapping[str, object], expected: Sequence[str]) -> None:
    if set(given) != set(expected):
        raise ValueError(f"{what} has the keys {sorted(given)}, expected {', '.join(expected)}")
