"""The sets of classes that adaptation papers train and report, by name."""

from collections.abc import Sequence
from dataclasses import dataclass

IGNORE = 255
"""The label of pixels that neither losses nor metrics look at."""


@dataclass(frozen=True)
class ClassSet:
    """Names and colours of the classes that a model tells apart.

    Attributes:
        names: Name of each class, in the order of the labels.
        palette: RGB colour of each class.
        parent: Name of the class set that this one is a part of, or that it groups.
        groups: For each class, which classes of ``parent`` belong to it; several where classes are
            merged.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    parent: str | None = None
    groups: tuple[tuple[int, ...], ...] = ()


_CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
_SUPER = {
    "flat": (128, 64, 128),
    "construction": (70, 70, 70),
    "object": (153, 153, 153),
    "nature": (107, 142, 35),
    "sky": (70, 130, 180),
    "human": (220, 20, 60),
    "vehicle": (0, 0, 142),
}
_CAMVID = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "tree": (128, 128, 0),
    "signsymbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
_IDD_LITE = {
    "drivable": (128, 64, 128),
    "non-drivable": (244, 35, 232),
    "living-things": (220, 20, 60),
    "vehicles": (0, 0, 142),
    "roadside-objects": (153, 153, 153),
    "far-objects": (70, 70, 70),
    "sky": (70, 130, 180),
}
_STREETS = {
    "road": (128, 64, 128),
    "lane": (255, 255, 255),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "vegetation": (107, 142, 35),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "car": (0, 0, 142),
    "pole": (153, 153, 153),
}
# Train ids of the reduced sets: SYNTHIA has no terrain, truck and train; papers that compare with
# older ones also leave out wall, fence and pole.
_SIXTEEN = (*range(9), *range(10, 14), 15, 17, 18)
_THIRTEEN = tuple(index for index in _SIXTEEN if index not in (3, 4, 5))
_SEVEN = ((0, 1), (2, 3, 4), (5, 6, 7), (8, 9), (10,), (11, 12), tuple(range(13, 19)))


def _part(indices: Sequence[int]) -> ClassSet:
    names = tuple(_CITYSCAPES)
    kept = tuple(names[index] for index in indices)
    return ClassSet(
        kept,
        tuple(_CITYSCAPES[name] for name in kept),
        "cityscapes_19",
        tuple((index,) for index in indices),
    )


CLASS_SETS: dict[str, ClassSet] = {
    "cityscapes_19": ClassSet(tuple(_CITYSCAPES), tuple(_CITYSCAPES.values())),
    "cityscapes_16": _part(_SIXTEEN),
    "cityscapes_13": _part(_THIRTEEN),
    "cityscapes_7": ClassSet(tuple(_SUPER), tuple(_SUPER.values()), "cityscapes_19", _SEVEN),
    "camvid_11": ClassSet(tuple(_CAMVID), tuple(_CAMVID.values())),
    "idd_lite_7": ClassSet(tuple(_IDD_LITE), tuple(_IDD_LITE.values())),
    "streets_9": ClassSet(tuple(_STREETS), tuple(_STREETS.values())),
}


def class_set(name: str) -> ClassSet:
    """Return a class set.

    Args:
        name: A key of ``CLASS_SETS``.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in CLASS_SETS:
        raise ValueError(
            f"class_set {name!r} is unknown. Expected one of {', '.join(map(repr, CLASS_SETS))}."
        )
    return CLASS_SETS[name]


def meta_of(name: str) -> dict:
    """Return a class set as the ``metainfo`` of an mm data set."""
    found = class_set(name)
    return dict(classes=found.names, palette=[list(colour) for colour in found.palette])
