"""The experts of several targets: sharing a backbone, starting from checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmseg.models.segmentors.base import BaseSegmentor

from mmext.checkpoints.safe_load import load_untrusted


def share_backbone(experts: Sequence[BaseSegmentor]) -> None:
    """Give all segmentors the backbone, and the neck, of the first.

    Args:
        experts: Segmentors of the same architecture.
    """
    first, *others = experts
    for expert in others:
        expert.backbone = first.backbone
        if first.with_neck:
            expert.neck = first.neck


def load_expert(expert: BaseSegmentor, path: str | Path, name: str) -> None:
    """Load the weights of a plain segmentor.

    Args:
        expert: What to load them into.
        path: Checkpoint of the same architecture.
        name: The expert's target, for messages.

    Raises:
        ValueError: The checkpoint does not fit.
    """
    loaded = load_untrusted(path)
    try:
        expert.load_state_dict(loaded.get("state_dict", loaded))
    except RuntimeError as error:
        raise ValueError(
            f"model.expert_checkpoints.{name}: {path} is no checkpoint of model.segmentor alone. "
            "Expected one that tools/model_converters/export_segmentor.py or mmseg's own training "
            f"has written. In detail: {error}"
        ) from error


def require_targets(targets: Sequence[str], checkpoints: Mapping[str, str]) -> None:
    """Refuse names of targets that cannot be those of several experts.

    Args:
        targets: ``model.targets``.
        checkpoints: ``model.expert_checkpoints``.

    Raises:
        ValueError: There are fewer than two, or names that are wrong or unknown.
    """
    wrong = [name for name in targets if "." in name or ">" in name]
    if len(set(targets)) < 2 or len(set(targets)) != len(targets) or wrong:
        raise ValueError(
            f"model.targets is {list(targets)}. Expected two or more different names without '.' "
            "and '>'. For a single target use mmext.BDL."
        )
    unknown = sorted(checkpoints.keys() - set(targets))
    if unknown:
        raise ValueError(
            f"model.expert_checkpoints has {unknown}. Expected names in model.targets, "
            f"{list(targets)}."
        )


def require_nothing_to_learn(
    targets: Sequence[str],
    checkpoints: Mapping[str, str],
    discriminator: Mapping | None,
    warmup_iters: int,
) -> None:
    """Refuse options that frozen experts have no use for.

    Args:
        targets: ``model.targets``.
        checkpoints: ``model.expert_checkpoints``.
        discriminator: ``model.discriminator``.
        warmup_iters: ``model.warmup_iters``.

    Raises:
        ValueError: Experts would have random weights, or something would learn nothing.
    """
    missing = [name for name in targets if name not in checkpoints]
    if missing or discriminator is not None or warmup_iters:
        raise ValueError(
            f"model.experts is 'frozen' with warmup_iters={warmup_iters}, "
            f"{'no' if discriminator is None else 'a'} discriminator, and no expert_checkpoints "
            f"for {missing}. Experts that do not learn need a checkpoint each, discriminator=None "
            "and warmup_iters=0."
        )
