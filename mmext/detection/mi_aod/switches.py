"""Where the code and the paper of MI-AOD differ, as far as its heads are concerned."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_type_hints

from .multiple_instance import ClassReduce, LevelReduce, WeightForm

Source = Literal["code", "paper"]


@dataclass(frozen=True)
class Switches:
    """Choices of a MI-AOD head.

    Attributes:
        det_cls_reduce: Whether the classification losses of f_1 and f_2 are averaged or summed.
        mil_weight: The anchor term of the instance scores.
        mil_level_reduce: What the levels of an image come to.
        img_cls_reduce: What the classes of an image's loss come to.
        img_cls_in_max: Whether labelled images train the image classifier while classifiers learn
            to disagree.
        score_sigmoid: Whether image scores take sigmoids of a softmax classifier's logits.
    """

    det_cls_reduce: ClassReduce
    mil_weight: WeightForm
    mil_level_reduce: LevelReduce
    img_cls_reduce: ClassReduce
    img_cls_in_max: bool
    score_sigmoid: bool

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            allowed = get_args(kind) or (True, False)
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}.")


PRESETS: dict[Source, Switches] = {
    "code": Switches(
        det_cls_reduce="mean",
        mil_weight="code",
        mil_level_reduce="max",
        img_cls_reduce="mean",
        img_cls_in_max=False,
        score_sigmoid=True,
    ),
    "paper": Switches(
        det_cls_reduce="sum",
        mil_weight="paper",
        mil_level_reduce="sum",
        img_cls_reduce="sum",
        img_cls_in_max=True,
        score_sigmoid=False,
    ),
}


def choose(faithful: Source, **given: Any) -> Switches:
    """Take a preset, but for what is given.

    Args:
        faithful (str): ``code`` or ``paper``.
        **given (Any): Fields of :class:`Switches`; None leaves the preset's.

    Returns:
        Switches: The choices.

    Raises:
        ValueError: A value is none of those allowed; the message names it.
    """
    if faithful not in PRESETS:
        raise ValueError(f"faithful must be one of {tuple(PRESETS)}, got {faithful!r}.")
    return replace(PRESETS[faithful], **{k: v for k, v in given.items() if v is not None})
