"""What HyperDet3D's weights for each scene are worth: test a trained one with those of others.

    python tools/analysis_tools/scene_prior.py CONFIG CHECKPOINT

tests every scene with its own weights and with those of another scene, drawn once for each. If both
rows are alike, the detector does not use what it knows of the scene, whatever its figures are.
Below stand how evenly the scenes ask the bank of embeddings (entropy of their attention; 1: all
embeddings alike), and by how much the scene-specific weights differ from scene to scene (their
standard deviation; 0: not at all).
"""

import argparse
import csv
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import RUNNERS
from mmengine.utils import track_iter_progress

from mmext.detection3d import HyperDet3D
from mmext.detection3d.hyperdet3d.hypernetwork import SceneWeights
from mmext.engine.cli import add_common_arguments, load_config
from mmext.files import replacing

ROWS = ("its own", "another scene's")


def other_scenes(count: int) -> np.ndarray:
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
    return others


class WeightStatistics:
    """Attention and weights of scenes, one after another."""

    def __init__(self) -> None:
        self.count = 0
        self.entropy = 0.0
        self.total = self.squares = 0.0

    def add(self, weights: SceneWeights) -> None:
        """Count a scene.

        Raises:
            ValueError: The weights are scene-agnostic.
        """
        if weights.attention is None:
            raise ValueError("model.hyper.fusion is 'agnostic': all scenes have the same weights")
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


@torch.no_grad()
def swap_weights(cfg: Config) -> tuple[dict[str, dict[str, float]], WeightStatistics]:
    """Test with a scene's own weights and with those of another one.

    Args:
        cfg: With ``load_from``.

    Returns:
        Figures by name for each of ``ROWS``, and what the weights are like.

    Raises:
        ValueError: The model is no HyperDet3D, or its weights are scene-agnostic.
    """
    runner = RUNNERS.build(cfg)
    model = runner.model
    if not isinstance(model, HyperDet3D):
        raise ValueError(
            f"model.type={cfg.model.type!r} has no weights of scenes. Expected 'mmext.HyperDet3D'."
        )
    runner.load_or_resume()
    model.eval()
    dataset = runner.test_loop.dataloader.dataset
    metrics = {row: runner.build_evaluator(deepcopy(cfg.test_evaluator)) for row in ROWS}
    for metric in metrics.values():
        metric.dataset_meta = dataset.metainfo
    statistics = WeightStatistics()

    def load(index: int) -> dict:
        return model.data_preprocessor(pseudo_collate([dataset[index]]), False)

    pairs = list(enumerate(other_scenes(len(dataset))))
    for index, other in track_iter_progress(pairs):
        batch = load(index)
        points, samples = batch["inputs"], batch["data_samples"]
        metrics[ROWS[0]].process(model.predict(points, deepcopy(samples)))
        with model.freeze_scene(load(int(other))["inputs"]) as weights:
            metrics[ROWS[1]].process(model.predict(points, samples))
        statistics.add(weights)
    return {row: metric.evaluate(len(dataset)) for row, metric in metrics.items()}, statistics


def markdown_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return mAP in percent with the weights of each row."""
    names = [name for name in figures[ROWS[0]] if "mAP" in name]
    lines = [["weights of the scene", *(name.rpartition("/")[2] for name in names)]]
    lines.append(["---"] * len(lines[0]))
    lines += [
        [row, *(f"{100 * found[name]:.1f}" for name in names)] for row, found in figures.items()
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Test twice and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    args = parser.parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    figures, statistics = swap_weights(cfg)
    entropy, spread = statistics.figures()
    print(f"\n{markdown_table(figures)}\n")
    print(f"entropy of attention {entropy:.3f}, deviation of weights over scenes {spread:.4f}")
    out = Path(cfg.work_dir) / "scene_prior.csv"
    with replacing(out) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["weights", *figures[ROWS[0]]])
        writer.writeheader()
        writer.writerows(dict(weights=row) | found for row, found in figures.items())
    print(f"written to {out}")


if __name__ == "__main__":
    main()
