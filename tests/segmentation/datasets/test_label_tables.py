"""Class sets and label tables: what papers published, and complaints about other ids."""

import numpy as np
import pytest

from mmext.segmentation.datasets import CLASS_SETS, LABEL_TABLES, class_set, label_table
from mmext.segmentation.datasets.class_sets import IGNORE
from mmext.segmentation.datasets.label_tables import VARIANTS

CITYSCAPES = CLASS_SETS["cityscapes_19"].names


def named(table: str) -> dict[int, str]:
    """Return the class name of each id of a table."""
    names = CLASS_SETS[table.split("/")[1]].names
    return {raw: names[index] for raw, index in LABEL_TABLES[table].classes.items()}


def test_parts_of_the_19_classes():
    left_out = set(CITYSCAPES) - set(class_set("cityscapes_16").names)
    assert left_out == {"terrain", "truck", "train"}
    left_out = set(class_set("cityscapes_16").names) - set(class_set("cityscapes_13").names)
    assert left_out == {"wall", "fence", "pole"}
    groups = class_set("cityscapes_7").groups
    assert sorted(index for group in groups for index in group) == list(range(19))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("gta5/cityscapes_19", {7: "road", 22: "terrain", 31: "train", 33: "bicycle"}),
        ("synthia/cityscapes_19", {3: "road", 21: "wall", 1: "sky", 17: "rider", 11: "bicycle"}),
        (
            "idd/cityscapes_19",
            {0: "road", 29: "building", 8: "rider", 9: "motorcycle", 5: "terrain"},
        ),
        ("mapillary/cityscapes_19", {13: "road", 22: "rider", 58: "train", 50: "traffic sign"}),
        ("synscapes/cityscapes_13", {7: "road", 33: "bicycle", 26: "car"}),
        ("cityscapes/cityscapes_7", {8: "flat", 22: "nature", 33: "vehicle", 25: "human"}),
        ("idd/cityscapes_7", {11: "vehicle", 26: "object", 19: "construction"}),
        ("mapillary/cityscapes_7", {29: "flat", 53: "vehicle", 20: "human"}),
        ("camvid/idd_lite_7", {0: "sky", 3: "drivable", 10: "living-things"}),
    ],
)
def test_published_maps(table, expected):
    assert expected.items() <= named(table).items()


@pytest.mark.parametrize(
    ("table", "absent"),
    [
        ("gta5/cityscapes_19", {0, 6, 9, 34}),
        ("synthia/cityscapes_19", {0, 22}),
        ("idd/cityscapes_19", {11, 1, 2}),
        ("mapillary/cityscapes_19", {24, 47, 2}),
        ("cityscapes/cityscapes_16", {22, 27, 31}),
    ],
)
def test_ignored_ids(table, absent):
    lut = LABEL_TABLES[table].lut
    assert (lut[sorted(absent)] == IGNORE).all()


def test_variants_differ_from_their_tables_where_they_say():
    changed = {}
    for name in VARIANTS:
        plain = LABEL_TABLES[name.rpartition("/")[0]].lut
        changed[name] = np.flatnonzero(LABEL_TABLES[name].lut != plain).tolist()
    assert changed == {
        "gta5/cityscapes_7/terrain_flat": [22],
        "mapillary/cityscapes_7/terrain_nature": [29],
        "mapillary/cityscapes_19/markings_road": [8, 23, 24, 47],
    }


def test_every_table_reaches_its_classes_and_no_others():
    for name, table in LABEL_TABLES.items():
        classes = len(CLASS_SETS[name.split("/")[1]].names)
        reached = set(table.classes.values())
        missing = set(range(classes)) - reached
        # SYNTHIA's ids have names for terrain, truck and train, though no pixel has them.
        assert reached <= set(range(classes))
        assert not missing, name


def test_unknown_ids_are_named_with_their_share():
    ids = np.full((10, 10), 7, np.uint8)
    ids[0, :5] = 200
    with pytest.raises(
        ValueError, match=r"a\.png has the label ids 200 \(5\.0% .* 0-34, 255\."
    ) as e:
        LABEL_TABLES["gta5/cityscapes_19"].apply(ids, "a.png")
    assert "original files" in str(e.value)
    with pytest.raises(ValueError, match="label ids 4000"):
        LABEL_TABLES["synthia/cityscapes_19"].apply(np.full((2, 2), 4000, np.uint16), "b.png")


def test_tables_of_a_config():
    table = label_table({7: 0, 8: 1, 9: 255}, 2)
    np.testing.assert_array_equal(table.apply(np.array([[7, 8, 9, 255]]), "x"), [[0, 1, 255, 255]])
    with pytest.raises(ValueError, match="label ids 6"):
        table.apply(np.array([[6]]), "x")
    with pytest.raises(ValueError, match=r"classes \[2\]: expected integers from 0 to 1"):
        label_table({7: 2}, 2)
    with pytest.raises(ValueError, match=r"ids \[300\]"):
        label_table({300: 0}, 2)
    with pytest.raises(ValueError, match="'gta/19' is unknown"):
        label_table("gta/19", 19)
    with pytest.raises(ValueError, match="'nineteen' is unknown"):
        class_set("nineteen")


def test_round_trip_of_cityscapes_ids():
    table = LABEL_TABLES["cityscapes/cityscapes_19"]
    back = {index: raw for raw, index in table.classes.items()}
    train_ids = np.arange(19, dtype=np.uint8)[None]
    raw = np.vectorize(back.get)(train_ids).astype(np.uint8)
    np.testing.assert_array_equal(table.apply(raw, "x"), train_ids)
