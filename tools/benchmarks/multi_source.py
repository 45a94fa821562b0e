"""Times a step of multi-source adaptation beside its parts run one by one, and its memory.

    python tools/benchmarks/multi_source.py [--sources 1 2 3] [--threads 1] [--runs 5]

Prints a markdown table, a row for each number of sources, without and with a shared backbone, and
with one target. `step` is a training step without its update. `parts` is what the same losses cost
when each is computed alone: each model's cross entropy on its source; for each pair of models the
teacher's pass and the learner's; the passes of all models that make pseudo labels, and those that
learn from them. Images are two of each domain, 192 x 96 pixels, the network that of
``configs/_base_/models/bdl_efflite0.py``. `memory` is what the peak of two steps adds to a fresh
process with model and images in it (Linux only), gradients and states of AdamW included.

Times are the best of several runs in turns. With one thread it is the time that the process had on
a core, with more it is wall time.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from measuring import (
    STEP_HEADS,
    forget_peak,
    in_fresh_process,
    print_head,
    print_row,
    resident_mib,
    step_arguments,
    step_cells,
)
from mmengine.config import Config
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from mmext.segmentation.adaptation import MultiSourceAdaptation, pixel_kl
from mmext.segmentation.adaptation.ensemble import mean_log_probabilities
from mmext.segmentation.adaptation.online_labels import class_balanced_labels, valid_cross_entropy
from mmext.segmentation.adaptation.segmentors import enlarged_logits, raw_logits

ROOT = Path(__file__).resolve().parents[2]
SIZE = (96, 192)


def build(sources: int, shared: bool) -> tuple[MultiSourceAdaptation, OptimWrapperDict]:
    """Build a model of so many sources, and its optimiser."""
    torch.manual_seed(0)
    base = Config.fromfile(ROOT / "configs" / "_base_" / "models" / "bdl_efflite0.py")
    network = base.model.segmentor
    network.backbone.init_cfg = None
    ensemble = dict(
        type="mmext.SegmentorEnsemble",
        members={f"s{k}": network for k in range(sources)},
        share_backbone=shared,
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(
            dict(type="mmext.MultiSourceAdaptation", segmentor=ensemble, ramp_iters=1)
        )
    model.train()
    return model, build_optim_wrapper(model, base.optim_wrapper)


def make_batch(sources: int, targets: int = 1) -> dict:
    """Draw a batch as mmext's loader gives it: domains s0, s1, ... and t0, t1, ..."""
    batch = dict(inputs={}, data_samples={})
    roles = {f"s{k}": "source" for k in range(sources)} | {
        f"t{k}": "target" for k in range(targets)
    }
    for name, role in roles.items():
        samples = [SegDataSample(metainfo=dict(role=role, img_shape=SIZE)) for _ in range(2)]
        for sample in samples if role == "source" else ():
            sample.gt_sem_seg = PixelData(data=torch.randint(0, 9, (1, *SIZE)))
        batch["inputs"][name] = [torch.randint(0, 256, (3, *SIZE)).byte() for _ in samples]
        batch["data_samples"][name] = samples
    return batch


def one_by_one(model: MultiSourceAdaptation, inputs: dict, samples: dict) -> Tensor:
    """Compute and differentiate each of the losses of a step alone; return their sum."""
    members, total = model.segmentor.members, torch.zeros(())

    def add(loss: Tensor) -> None:
        nonlocal total
        loss.backward()
        total = total + loss.detach()

    def full(name: str) -> Tensor:
        return enlarged_logits(raw_logits(members[name], inputs["t0"]), SIZE, False)

    for name, member in members.items():
        add(member.parse_losses(member.loss(inputs[name], samples[name]))[0])
        for other in members:
            if other != name:
                with torch.no_grad():
                    teacher = raw_logits(members[other], inputs[other])
                learner = raw_logits(member, inputs[other])
                add(model.lambda_col / (len(members) - 1) * pixel_kl(teacher, learner))
    with torch.no_grad():
        together = mean_log_probabilities([full(name) for name in members]).exp()
    labels = class_balanced_labels(together, **model.rule)
    for name in members:
        add(model.lambda_target * valid_cross_entropy(full(name), labels))
    return total


def step_and_parts(
    sources: int, shared: bool
) -> tuple[MultiSourceAdaptation, dict[str, Callable[[], Tensor]]]:
    """Return a model, and a step of it beside one whose losses are computed one by one."""
    model, _ = build(sources, shared)
    model.iteration = 1
    batch = model.data_preprocessor(make_batch(sources), True)
    inputs, samples = batch["inputs"], batch["data_samples"]

    def step() -> Tensor:
        total = torch.zeros(())
        for part in model.parts(inputs, samples):
            loss = part.weight * model.parse_losses(part.losses())[0]
            loss.backward()
            total = total + loss.detach()
        return total

    return model, dict(step=step, parts=lambda: one_by_one(model, inputs, samples))


def added_memory(sources: int, shared: bool) -> float:
    """Return MiB that two steps add to this process at their peak."""
    model, optim = build(sources, shared)
    batch = make_batch(sources)
    before = forget_peak()
    for _ in range(2):
        model.train_step(batch, optim)
    return resident_mib("VmHWM") - before


def main() -> None:
    """Print the table, or (``--cell``) measure the memory of one of its rows."""
    args = step_arguments(__doc__, "sources", (1, 2, 3), added_memory)
    print_head("sources", "backbone", *STEP_HEADS)
    for shared in (False, True):
        for sources in args.sources:
            if shared and sources == 1:
                continue
            cell = dict(sources=sources, shared=shared)
            memory = in_fresh_process(__file__, cell)
            cells = step_cells(*step_and_parts(**cell), args.runs, memory)
            print_row(sources, "shared" if shared else "own", *cells)


if __name__ == "__main__":
    main()
