"""Which id in a data set's label files stands for which class: tables by name.

A table is named ``<ids>/<class set>``: ``gta5/cityscapes_19`` maps the ids in GTA5's label files to
the 19 classes of Cityscapes. Ids that are known but stand for none of the classes become 255; ids
that no table knows are an error, since they mean that the file is something else.

Source of the maps: the data sets' official conversions to Cityscapes' classes; the 7 classes as in
MTAF (Saporta et al., "Multi-Target Adversarial Frameworks for Domain Adaptation in Semantic
Segmentation", ICCV 2021). Published maps contradict each other in a few classes; ``VARIANTS`` says
where.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from .class_sets import CLASS_SETS, IGNORE, class_set

_UNKNOWN = 254


@dataclass(frozen=True)
class LabelTable:
    """A map from the ids in label files to classes.

    Attributes:
        name: Name, for messages.
        classes: Class of each id that stands for one.
        ignored: Other ids that occur in the files; 255 is always among them.
        hint: What other ids would mean and what to do about it.
    """

    name: str
    classes: Mapping[int, int]
    ignored: frozenset[int] = frozenset()
    hint: str = "Name the table of these files as label_table, or convert them."

    @cached_property
    def lut(self) -> np.ndarray:
        """The (256,) uint8 class of each id; 254 for ids that must not occur."""
        lut = np.full(256, _UNKNOWN, np.uint8)
        lut[[IGNORE, *self.ignored]] = IGNORE
        for raw, target in self.classes.items():
            lut[raw] = target
        return lut

    def apply(self, ids: np.ndarray, source: str) -> np.ndarray:
        """Map the ids of a label file.

        Args:
            ids: (H, W) integers.
            source: Name of the file, for messages.

        Returns:
            (H, W) uint8 classes, 255 for ignored pixels.

        Raises:
            ValueError: The file has ids that the table does not know.
        """
        if ids.dtype != np.uint8:
            if ids.max(initial=0) > IGNORE or ids.min(initial=0) < 0:
                raise ValueError(self._complaint(ids, source))
            ids = ids.astype(np.uint8)
        mapped = cv2.LUT(np.ascontiguousarray(ids), self.lut)
        if (mapped == _UNKNOWN).any():
            raise ValueError(self._complaint(ids, source))
        return mapped

    def _complaint(self, ids: np.ndarray, source: str) -> str:
        known = np.flatnonzero(self.lut != _UNKNOWN)
        found, counts = np.unique(ids, return_counts=True)
        strange = ~np.isin(found, known)
        listed = ", ".join(map(str, found[strange][:8]))
        share = counts[strange].sum() / ids.size
        return (
            f"{source} has the label ids {listed}{', ...' if strange.sum() > 8 else ''} "
            f"({share:.1%} of its pixels), which the table {self.name!r} does not know: expected "
            f"{_spans(known)}. {self.hint}"
        )


def _spans(values: np.ndarray) -> str:
    """Write sorted integers as '0-34, 255'."""
    breaks = np.flatnonzero(np.diff(values) > 1) + 1
    runs = np.split(values, breaks)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


_CITYSCAPES_IDS = {
    raw: index
    for index, raw in enumerate((7, 8, *range(11, 14), 17, *range(19, 29), *range(31, 34)))
}
_CITYSCAPES_SUPER = {
    **dict.fromkeys((7, 8), 0),
    **dict.fromkeys((11, 12, 13), 1),
    **dict.fromkeys((17, 19, 20), 2),
    **dict.fromkeys((21, 22), 3),
    23: 4,
    **dict.fromkeys((24, 25), 5),
    **dict.fromkeys(range(26, 34), 6),
}
_SYNTHIA_IDS = {
    **{3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 16: 9},
    **{1: 10, 10: 11, 17: 12, 8: 13, 18: 14, 19: 15, 20: 16, 12: 17, 11: 18},
}
_IDD_IDS = {
    **{0: 0, 3: 1, 29: 2, 20: 3, 21: 4, 26: 5, 25: 6, 24: 7, 32: 8, 5: 9},
    **{33: 10, 6: 11, 8: 12, 12: 13, 13: 14, 14: 15, 17: 16, 9: 17, 10: 18},
}
_IDD_SUPER = {
    **dict.fromkeys((0, 2, 3), 0),
    **dict.fromkeys((19, 20, 21, 29), 1),
    **dict.fromkeys((23, 24, 25, 26), 2),
    32: 3,
    33: 4,
    **dict.fromkeys((6, 8), 5),
    **dict.fromkeys(range(9, 19), 6),
}
# Ids of Mapillary Vistas v1.2 are positions in its list of 66 names (mmseg's MapillaryDataset_v1).
_MAPILLARY_IDS = {
    **{13: 0, 15: 1, 17: 2, 6: 3, 3: 4, 45: 5, 48: 6, 49: 7, 50: 7, 30: 8, 29: 9, 27: 10},
    **{19: 11, 20: 12, 21: 12, 22: 12, 55: 13, 61: 14, 54: 15, 58: 16, 57: 17, 52: 18},
}
_MAPILLARY_SUPER = {
    **dict.fromkeys((7, 8, 9, 10, 11, 12, 13, 14, 15, 23, 24, 29), 0),
    **dict.fromkeys((2, 3, 4, 5, 6, 16, 17, 18), 1),
    **dict.fromkeys((43, 44, 45, 46, 47, 48, 49, 50), 2),
    30: 3,
    27: 4,
    **dict.fromkeys((19, 20, 21, 22), 5),
    **dict.fromkeys((52, 53, 54, 55, 56, 57, 58, 59, 60, 61), 6),
}
_CAMVID_TO_IDD_LITE = {0: 6, 1: 5, 2: 4, 3: 0, 4: 1, 5: 5, 6: 4, 7: 4, 8: 3, 9: 2, 10: 2}

_HINTS = {
    "cityscapes": "Are these colours, or files of another data set? Expected *_labelIds.png.",
    "gta5": "GTA5's label files are palette images whose indices are ids: give the original files, "
    "not copies that another program has saved.",
    "synthia": "Expected the files of GT/LABELS, whose first channel of 16 bits holds the class.",
    "idd": "Expected files that IDD's own tool wrote with --id-type id (*_gtFine_labelids.png).",
    "mapillary": "Expected label files of Mapillary Vistas v1.2, with 66 classes.",
    "synscapes": "Expected the files of img/class.",
}
_IDS = {
    "cityscapes": range(35),
    "gta5": range(35),
    "synthia": range(23),
    "idd": range(40),
    "mapillary": range(66),
    "synscapes": range(35),
}
_BASE = {
    "cityscapes": (_CITYSCAPES_IDS, _CITYSCAPES_SUPER),
    "gta5": (_CITYSCAPES_IDS, _CITYSCAPES_SUPER),
    "synthia": (_SYNTHIA_IDS, None),
    "idd": (_IDD_IDS, _IDD_SUPER),
    "mapillary": (_MAPILLARY_IDS, _MAPILLARY_SUPER),
    "synscapes": (_CITYSCAPES_IDS, _CITYSCAPES_SUPER),
}
VARIANTS: dict[str, Mapping[int, int]] = {
    # CoaST counts terrain as flat where MTAF counts it as nature.
    "gta5/cityscapes_7/terrain_flat": {**_CITYSCAPES_SUPER, 22: 0},
    # MTAF counts Mapillary's terrain as flat; here it is nature, as on Cityscapes.
    "mapillary/cityscapes_7/terrain_nature": {**_MAPILLARY_SUPER, 29: 3},
    # Some papers count lane markings as road and utility poles as poles: their scores are not
    # comparable with those of the plain table.
    "mapillary/cityscapes_19/markings_road": {**_MAPILLARY_IDS, 23: 0, 24: 0, 8: 0, 47: 5},
}


def _regroup(classes: Mapping[int, int], target: str) -> dict[int, int]:
    """Turn a map to the 19 classes into one to a class set made of them."""
    position = {
        member: index for index, group in enumerate(class_set(target).groups) for member in group
    }
    return {raw: position[old] for raw, old in classes.items() if old in position}


def _tables() -> dict[str, LabelTable]:
    found: dict[str, tuple[str, Mapping[int, int]]] = {}
    for ids, (full, grouped) in _BASE.items():
        for part in ("cityscapes_19", "cityscapes_16", "cityscapes_13"):
            classes = full if part == "cityscapes_19" else _regroup(full, part)
            found[f"{ids}/{part}"] = (ids, classes)
        seven = _regroup(full, "cityscapes_7") if grouped is None else grouped
        found[f"{ids}/cityscapes_7"] = (ids, seven)
    found |= {name: (name.partition("/")[0], classes) for name, classes in VARIANTS.items()}
    tables = {
        name: LabelTable(name, classes, frozenset(_IDS[ids]), _HINTS[ids])
        for name, (ids, classes) in found.items()
    }
    tables["camvid/idd_lite_7"] = LabelTable("camvid/idd_lite_7", _CAMVID_TO_IDD_LITE)
    for name, known in CLASS_SETS.items():
        tables[f"classes/{name}"] = identity(len(known.names), f"classes/{name}")
    return tables


def identity(num_classes: int, name: str = "classes") -> LabelTable:
    """Return the table of files that hold classes already: 0 to ``num_classes - 1``, and 255."""
    return LabelTable(name, {index: index for index in range(num_classes)})


LABEL_TABLES: dict[str, LabelTable] = _tables()


def label_table(table: str | Mapping[int, int], num_classes: int) -> LabelTable:
    """Return a table by name, or make one of a config's dict.

    Args:
        table: A key of ``LABEL_TABLES``, or ``{id in the files: class}``; ids with the class 255
            are ignored, ids that are not in it are an error.
        num_classes: How many classes there are.

    Raises:
        ValueError: An unknown name, or ids or classes out of range.
    """
    if isinstance(table, str):
        if table not in LABEL_TABLES:
            raise ValueError(
                f"label_table {table!r} is unknown. Expected one of "
                f"{', '.join(sorted(LABEL_TABLES))}, or a dict of ids and classes."
            )
        return LABEL_TABLES[table]
    _check_range("ids", table.keys(), IGNORE)
    _check_range("classes", (c for c in table.values() if c != IGNORE), num_classes - 1)
    ignored = frozenset(raw for raw, target in table.items() if target == IGNORE)
    classes = {raw: target for raw, target in table.items() if target != IGNORE}
    return LabelTable("of the config", classes, ignored)


def _check_range(what: str, values: Iterable[int], highest: int) -> None:
    wrong = [value for value in values if not 0 <= value <= min(highest, IGNORE)]
    if wrong:
        raise ValueError(
            f"label_table has {what} {wrong[:5]}: expected integers from 0 to {highest}"
            + (", or 255 to ignore pixels." if what == "classes" else ".")
        )
