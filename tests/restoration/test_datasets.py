import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmext.registry import DATASETS
from mmext.restoration.datasets import apply_template, strip_template

names = st.text("ab._-1", min_size=1, max_size=6).filter(lambda n: not n.startswith("."))


def build(root, *, kind="PairedImageDataset", **kwargs):
    options = dict(data_root=str(root), data_prefix=dict(img="noisy", gt="clean")) | kwargs
    return DATASETS.build(dict(type=f"mmext.{kind}", pipeline=[], **options))


@given(names, st.sampled_from(["{}", "{}_x", "n_{}", "{}_x.jpg"]), st.sampled_from([".png", ""]))
def test_template_is_stripped_as_applied(stem, template, suffix):
    name = apply_template(template, f"folder/{stem}", suffix)
    found = strip_template(template, name)
    assert found is not None
    assert apply_template(template, *found) == name


def test_template_that_does_not_fit():
    assert strip_template("{}_real.JPG", "a_mean.JPG") is None
    assert strip_template("{}_real", "a_real.png") == ("a", ".png")
    assert strip_template("ab{}ba", "aba.png") is None


def test_folders_are_paired_by_name(folders):
    (folders / "noisy" / ".hidden.png").write_bytes(b"")
    (folders / "noisy" / "notes.txt").write_text("")
    dataset = build(folders)
    assert len(dataset) == 8
    assert dataset[3]["img_path"] == str(folders / "noisy" / "3.png")
    assert dataset[3]["gt_path"] == str(folders / "clean" / "3.png")


def test_sub_folders_are_searched(folders):
    for kind in ("noisy", "clean"):
        (folders / kind / "scene").mkdir()
        (folders / kind / "0.png").rename(folders / kind / "scene" / "0.png")
    dataset = build(folders)
    assert dataset[7]["gt_path"] == str(folders / "clean" / "scene" / "0.png")


def test_list_file_with_and_without_suffix(folders):
    (folders / "list.txt").write_text("# two\n5.png\n\n2.png\n")
    assert [d["img_path"][-5:] for d in build(folders, ann_file="list.txt")] == ["5.png", "2.png"]
    (folders / "list.txt").write_text("5\n2\n")
    dataset = build(folders, ann_file="list.txt", filename_tmpl=dict(img="{}.png", gt="{}.png"))
    assert dataset[1]["gt_path"] == str(folders / "clean" / "2.png")


def test_one_folder_of_two_names(folders, tmp_path):
    both = tmp_path / "both"
    both.mkdir()
    for index in range(8):
        (folders / "noisy" / f"{index}.png").rename(both / f"{index}_real.png")
        (folders / "clean" / f"{index}.png").rename(both / f"{index}_mean.png")
    dataset = build(
        both,
        data_prefix=dict(img="", gt=""),
        filename_tmpl=dict(img="{}_real", gt="{}_mean"),
    )
    assert len(dataset) == 8
    assert dataset[1]["gt_path"] == str(both / "1_mean.png")


def test_views_and_no_targets(folders):
    dataset = build(
        folders, kind="UnpairedImageDataset", data_prefix=dict(img="noisy", view="clean")
    )
    assert dataset[0]["view_paths"] == [str(folders / "clean" / "0.png")]
    assert "gt_path" not in dataset[0]


def test_lmdb(folders):
    lmdb = pytest.importorskip("lmdb", reason="the lmdb package is not installed")
    for kind in ("noisy", "clean"):
        with (
            lmdb.open(str(folders / f"{kind}.lmdb"), map_size=2**24) as db,
            db.begin(write=True) as t,
        ):
            for path in (folders / kind).iterdir():
                t.put(path.stem.encode(), path.read_bytes())
    prefixes = dict(img="noisy.lmdb", gt="clean.lmdb")
    pipeline = [dict(type="mmext.LoadImagePair")]
    options = dict(type="mmext.PairedImageDataset", data_root=str(folders), pipeline=pipeline)
    from_lmdb = DATASETS.build(options | dict(data_prefix=prefixes))
    from_files = DATASETS.build(options | dict(data_prefix=dict(img="noisy", gt="clean")))
    assert len(from_lmdb) == 8
    for one, other in zip(from_lmdb, from_files, strict=True):
        np.testing.assert_array_equal(one["img"], other["img"])
        np.testing.assert_array_equal(one["gt"], other["gt"])


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (dict(data_prefix=dict(img="none", gt="clean")), FileNotFoundError, "none does not exist"),
        (dict(ann_file="none.txt"), FileNotFoundError, r"none\.txt does not exist"),
        (dict(data_prefix=dict(img="noisy")), ValueError, "UnpairedImageDataset"),
        (dict(filename_tmpl=dict(img="a")), ValueError, "one '{}'"),
        (dict(filename_tmpl=dict(lq="{}")), ValueError, "'lq'"),
        (dict(filename_tmpl=dict(img="{}_x")), ValueError, "no image found"),
    ],
)
def test_faults_are_named(folders, kwargs, error, message):
    with pytest.raises(error, match=message):
        build(folders, **kwargs)
