"""What a trained Group-Free-3D or HyperDet3D gains, and could gain, from knowing the kind of room.

    python tools/analysis_tools/scene_prior.py CONFIG CHECKPOINT

tests it up to three times on the set that the config tests on:

- as it is;
- HyperDet3D: every scene with the weights of another one, drawn once for each. If this changes
  nothing, the detector does not use what its weights know of the scene, whatever its figures are.
  Below the table stand how evenly the scenes ask the bank of embeddings (entropy of their
  attention; 1: all alike), and by how much the scene-specific weights differ from scene to scene
  (their standard deviation; 0: not at all);
- where the data tell the type of a room (rooms): without boxes of classes that no training room of
  that type has. What this adds is what there was still to gain from the type.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, RUNNERS
from mmengine.structures import InstanceData
from mmengine.utils import track_iter_progress

from mmext.detection3d import GroupFree3D, HyperDet3D, IndoorDet3DDataset
from mmext.detection3d.hyperdet3d.hypernetwork import SceneWeights
from mmext.engine.cli import add_common_arguments, load_config
from mmext.files import replacing

AS_IS, SWAPPED, TOLD = "as it is", "weights of another scene", "type of the room told"


def other_scenes(count: int) -> list[int]:
    """Return for each of ``count`` scenes another one, each of them once, always the same.

    Raises:
        ValueError: There are fewer than two.
    """
    if count < 2:
        raise ValueError(
            f"the config tests on {count} scenes: expected two or more to swap weights"
        )
    order = np.random.default_rng(0).permutation(count)
    others = np.empty(count, dtype=int)
    others[order] = np.roll(order, 1)
    return others.tolist()


def classes_by_type(dataset: IndoorDet3DDataset) -> dict[str, set[int]]:
    """Return the labels that a set's rooms of each type have; nothing, if it tells no types."""
    found: dict[str, set[int]] = defaultdict(set)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        if "scene_type" in info:
            found[info["scene_type"]].update(info["labels"].tolist())
    return dict(found)


class WeightStatistics:
    """Attention and weights of scenes, one after another."""

    def __init__(self) -> None:
        self.count = 0
        self.entropy = 0.0
        self.total = self.squares = 0.0

    def add(self, weights: SceneWeights) -> None:
        """Count a scene."""
        attention, specific = weights.attention.double(), weights.specific.double()
        entropy = torch.special.entr(attention).sum(-1) / np.log(attention.shape[-1])
        self.count += 1
        self.entropy += float(entropy.mean())
        self.total += specific
        self.squares += specific**2

    def figures(self) -> tuple[float, float]:
        """Return the mean entropy of attention, and the mean deviation of weights over scenes."""
        variance = self.squares / self.count - (self.total / self.count) ** 2
        return self.entropy / self.count, float(variance.clamp(min=0).sqrt().mean())


def only_classes(found: InstanceData, labels: set[int]) -> InstanceData:
    """Return the detections of some classes."""
    return found[torch.isin(found.labels_3d, torch.tensor(sorted(labels)).to(found.labels_3d))]


@torch.no_grad()
def run(cfg: Config) -> tuple[dict[str, dict[str, float]], WeightStatistics | None]:
    """Test a detector in all ways that its model and data allow.

    Args:
        cfg: With ``load_from``.

    Returns:
        Figures by name for each way, and what the weights of scenes are like, if there are any.

    Raises:
        ValueError: The model is another one, or there is nothing to compare with.
    """
    runner = RUNNERS.build(cfg)
    model = runner.model
    if not isinstance(model, GroupFree3D):
        raise ValueError(
            f"model.type={cfg.model.type!r}: expected 'mmext.GroupFree3D' or 'mmext.HyperDet3D'"
        )
    swaps = isinstance(model, HyperDet3D) and model.decoder_hyper.attention is not None
    classes = classes_by_type(DATASETS.build(cfg.train_dataloader.dataset))
    rows = [AS_IS, *([SWAPPED] if swaps else []), *([TOLD] if classes else [])]
    if rows == [AS_IS]:
        raise ValueError(
            "nothing to compare with: the model has no weights that depend on the scene, and the "
            "scenes of train_dataloader have no scene_type"
        )
    runner.load_or_resume()
    model.eval()
    dataset = runner.test_loop.dataloader.dataset
    metrics = {row: runner.build_evaluator(deepcopy(cfg.test_evaluator)) for row in rows}
    for metric in metrics.values():
        metric.dataset_meta = dataset.metainfo
    statistics = WeightStatistics() if swaps else None

    def load(index: int) -> dict:
        return model.data_preprocessor(pseudo_collate([dataset[index]]), False)

    for index, other in track_iter_progress(list(enumerate(other_scenes(len(dataset))))):
        batch = load(index)
        points, samples = batch["inputs"], batch["data_samples"]
        (sample,) = model.predict(points, deepcopy(samples))
        metrics[AS_IS].process([deepcopy(sample)])
        if classes:
            allowed = classes.get(dataset.get_data_info(index)["scene_type"], set())
            sample.pred_instances_3d = only_classes(sample.pred_instances_3d, allowed)
            metrics[TOLD].process([sample])
        if swaps:
            with model.freeze_scene(load(other)["inputs"]) as weights:
                metrics[SWAPPED].process(model.predict(points, samples))
            statistics.add(weights)
    return {row: metrics[row].evaluate(len(dataset)) for row in rows}, statistics


def markdown_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return mAP in percent, a row for each way to test."""
    names = [name for name in figures[AS_IS] if "mAP" in name]
    lines: list[Sequence[str]] = [["tested", *(name.rpartition("/")[2] for name in names)]]
    lines.append(["---"] * len(lines[0]))
    for row, found in figures.items():
        lines.append([row, *(f"{100 * found[name]:.1f}" for name in names)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Test and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    args = parser.parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    figures, statistics = run(cfg)
    print(f"\n{markdown_table(figures)}\n")
    if statistics is not None:
        entropy, spread = statistics.figures()
        print(f"entropy of attention {entropy:.3f}, deviation of weights over scenes {spread:.4f}")
    out = Path(cfg.work_dir) / "scene_prior.csv"
    with replacing(out) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["tested", *figures[AS_IS]])
        writer.writeheader()
        writer.writerows(dict(tested=row) | found for row, found in figures.items())
    print(f"written to {out}")


if __name__ == "__main__":
    main()
