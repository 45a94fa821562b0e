"""The pool: ids, sets, draws, its file, and the sets of the official code."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mmext.active_learning.pool import POOL_FILE, Pool, top_scoring

DATA = Path(__file__).resolve().parents[1] / "data" / "active_learning" / "selection.npz"


def pool_of(count: int, labeled: int, seed: int = 0) -> Pool:
    pool = Pool([f"{index:03}.png" for index in reversed(range(count))], seed=seed)
    pool.add(pool.draw_initial(labeled))
    return pool


@pytest.mark.parametrize("case", ["plain", "exhaust"])
def test_selects_what_the_official_code_selects(case):
    """Labelled sets of every cycle; of the unlabelled ones the size and where they are from."""
    golden = {k.split("/")[1]: v for k, v in np.load(DATA).items() if k.startswith(case)}
    size = len(golden["X_all"])
    name = "{:04}".format
    pool = Pool(map(name, range(size)), seed=0)
    pool.add([name(i) for i in golden["X_L_0"]])
    step = len(golden["X_L_1"]) - len(golden["X_L_0"])
    cycles = sum(key.startswith("X_L_") for key in golden)
    for cycle in range(cycles):
        assert pool.labeled() == [name(i) for i in golden[f"X_L_{cycle}"]]
        drawn = pool.draw_unlabeled(len(pool.labeled()))
        official = {name(i) for i in golden[f"X_U_{cycle}"]}
        assert len(drawn) == len(set(drawn)) == len(golden[f"X_U_{cycle}"])
        unlabeled = set(pool.unlabeled())
        assert len(unlabeled & set(drawn)) == len(unlabeled & official)
        if cycle + 1 < cycles:
            scores = golden[f"uncertainty_{cycle}"]
            candidates = pool.unlabeled()
            pool.add(top_scoring(candidates, [scores[int(i)] for i in candidates], step))
    assert len(pool.labeled()) == len(golden["X_L_0"]) + (cycles - 1) * step


def test_draws_depend_on_seed_and_cycle_only():
    first, again, other = pool_of(40, 10), pool_of(40, 10), pool_of(40, 10, seed=1)
    first.generator("anything").random(7)
    assert first.cycles == again.cycles != other.cycles
    assert first.draw_unlabeled(10) == again.draw_unlabeled(10)
    before = first.draw_unlabeled(10)
    first.add(first.unlabeled()[:5])
    assert first.draw_unlabeled(10) != before
    assert not set(first.draw_unlabeled(10)) & set(first.labeled())


def test_the_order_of_the_annotation_file_does_not_matter():
    names = [f"{index}.png" for index in range(30)]
    assert Pool(names, seed=3).draw_initial(5) == Pool(names[::-1], seed=3).draw_initial(5)


def test_refuses_doubled_and_wrong_ids():
    with pytest.raises(ValueError, match=r"twice.*a.png"):
        Pool(["a.png", "b.png", "a.png"], seed=0)
    pool = pool_of(6, 2)
    with pytest.raises(ValueError, match="labelled already"):
        pool.add(pool.labeled()[:1])
    with pytest.raises(ValueError, match="not in the pool"):
        pool.add(["elsewhere.png"])
    with pytest.raises(ValueError, match="selected twice"):
        pool.add(pool.unlabeled()[:1] * 2)


def test_file_round_trip_and_rewinding(tmp_path):
    pool = pool_of(20, 4)
    pool.hashes = {pool.labeled()[0]: "abc"}
    pool.history.append(dict(cycle=0, labeled=4))
    pool.add(pool.unlabeled()[:3])
    pool.history.append(dict(cycle=1, labeled=7))
    pool.save(tmp_path)
    read = Pool.load(tmp_path)
    assert read.state() == pool.state()
    assert read.missing_labels() == sorted(set(read.labeled()) - {*pool.hashes})
    read.rewind(0)
    assert read.cycles == pool.cycles[:1]
    assert read.history == []
    assert read.hashes == pool.hashes


def test_file_is_never_half_written(tmp_path, monkeypatch):
    """Stopped at any moment of the writing, the file holds the state before."""
    pool = pool_of(20, 4)
    pool.save(tmp_path)
    before = (tmp_path / POOL_FILE).read_bytes()
    pool.add(pool.unlabeled()[:3])
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                pool.save(tmp_path)
        assert (tmp_path / POOL_FILE).read_bytes() == before
    pool.save(tmp_path)
    assert len(json.loads((tmp_path / POOL_FILE).read_text())["cycles"]) == 2


def test_says_that_a_file_is_no_pool(tmp_path):
    (tmp_path / POOL_FILE).write_text('{"images": [')
    with pytest.raises(ValueError, match=r"pool.json is no pool"):
        Pool.load(tmp_path)


def test_top_scoring_equals_a_stable_sort():
    rng = np.random.default_rng(0)
    images = [f"{index:04}" for index in range(300)]
    scores = rng.integers(0, 40, 300) / 7
    order = np.argsort(-scores, kind="stable")
    for count in (0, 1, 57, 300):
        assert top_scoring(images, scores, count) == sorted(images[i] for i in order[:count])
    with pytest.raises(ValueError, match=r"'0001' is not a number"):
        top_scoring(images[:3], [1, float("nan"), 2], 1)
