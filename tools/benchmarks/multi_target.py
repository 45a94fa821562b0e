"""Times a step of multi-target adaptation beside its parts run one by one, and its memory.

    python tools/benchmarks/multi_target.py [--targets 2 3] [--threads 1] [--runs 5]

Prints a markdown table, a row for each number of targets and kind of experts, without and with the
experts' consistency. `step` is a training step from the batch on, updates included. `parts` is what
the same step costs when each loss is computed alone: each expert's cross entropy; its deceiving the
discriminator; the discriminator's two passes; for each pair of experts the teacher's pass and the
learner's; for each target the expert's pass and the student's; the distance of weights. Images are
two of each domain, 192 x 96 pixels, network and settings those of
``configs/_base_/models/ccl_efflite0.py`` after the warm-up. `memory` is what the peak of two steps
adds to a fresh process with model and images in it (Linux only), gradients and states of the
optimisers included.

Times are the best of several runs in turns. With one thread it is the time that the process had on
a core, with more it is wall time.
"""

from collections.abc import Callable

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
from multi_source import ROOT, make_batch
from torch import Tensor

from mmext.engine import frozen
from mmext.segmentation.adaptation import MultiTargetAdaptation, pixel_kl
from mmext.segmentation.adaptation.bridge import view_name
from mmext.segmentation.adaptation.segmentors import probability_maps, raw_logits

CONSISTENCY = 0.1


def build(
    targets: int, experts: str, consistency: bool
) -> tuple[MultiTargetAdaptation, OptimWrapperDict]:
    """Build a model of so many targets, and its optimisers."""
    torch.manual_seed(0)
    base = Config.fromfile(ROOT / "configs" / "_base_" / "models" / "ccl_efflite0.py")
    base.model.segmentor.backbone.init_cfg = None
    changes = dict(
        targets=[f"t{k}" for k in range(targets)],
        experts=experts,
        lambda_consistency=CONSISTENCY * consistency,
        warmup_iters=0,
        ramp_iters=0,
        student_start="own",
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(base.model | changes)
    model.train()
    return model, build_optim_wrapper(model, base.optim_wrapper)


def scores(
    model: MultiTargetAdaptation, target: str, images: Tensor, *, learns: bool = True
) -> Tensor:
    """Return what a target's discriminator says of its expert, who learns from it or does not."""
    with torch.set_grad_enabled(learns):
        logits = raw_logits(model.experts[target], images)
    return model.discriminators[target](probability_maps(logits, images.shape[2:], False))


def one_by_one(model: MultiTargetAdaptation, optim: OptimWrapperDict, data: dict) -> Tensor:
    """Take a step whose losses are computed and differentiated alone.

    Returns:
        The sum of the losses of experts and student.
    """
    batch = model.data_preprocessor(data, True)
    inputs, samples = batch["inputs"], batch["data_samples"]
    total, share = torch.zeros(()), 1 / len(model.targets)

    def add(loss: Tensor) -> None:
        nonlocal total
        loss.backward()
        total = total + loss.detach()

    for target in model.targets:
        expert, judge = model.experts[target], model.discriminators[target]
        view = view_name("s0", target)
        add(expert.parse_losses(expert.loss(inputs[view], samples[view]))[0])
        with frozen(judge):
            add(model.lambda_adv * model.adversarial_loss(scores(model, target, inputs[target]), 0))
        for name, label in ((view, 0), (target, 1)):
            found = scores(model, target, inputs[name], learns=False)
            (0.5 * model.adversarial_loss(found, label)).backward()
        if model.lambda_consistency > 0:
            weight = share * model.lambda_consistency / (len(model.targets) - 1)
            for other in model.targets:
                if other != target:
                    with torch.no_grad():
                        teacher = raw_logits(model.experts[other], inputs[view_name(target, other)])
                    add(weight * pixel_kl(teacher, raw_logits(expert, inputs[target])))
        with torch.no_grad():
            teacher = raw_logits(expert, inputs[target])
        student = raw_logits(model.segmentor, inputs[target])
        add(share * model.lambda_distillation * pixel_kl(teacher, student))
        add(model.lambda_weights * model.weight_loss(target, "b"))
    for wrapper in optim.values():
        wrapper.step()
        wrapper.zero_grad()
    return total


def step_and_parts(
    targets: int, experts: str, consistency: bool
) -> tuple[MultiTargetAdaptation, dict[str, Callable[[], Tensor]]]:
    """Return a model, and a step of it beside one whose losses are computed one by one."""
    batch = make_batch(1, targets)
    (whole, optim), (alone, other) = (build(targets, experts, consistency) for _ in range(2))
    return whole, dict(
        step=lambda: whole.train_step(batch, optim)["loss"],
        parts=lambda: one_by_one(alone, other, batch),
    )


def added_memory(targets: int, experts: str, consistency: bool) -> float:
    """Return MiB that two steps add to this process at their peak."""
    model, optim = build(targets, experts, consistency)
    batch = make_batch(1, targets)
    before = forget_peak()
    for _ in range(2):
        model.train_step(batch, optim)
    return resident_mib("VmHWM") - before


def main() -> None:
    """Print the table, or (``--cell``) measure the memory of one of its rows."""
    args = step_arguments(__doc__, "targets", (2, 3), added_memory)
    print_head("targets", "experts", "consistency", *STEP_HEADS)
    for experts in ("separate", "shared_backbone"):
        for targets in args.targets:
            for consistency in (False, True):
                cell = dict(targets=targets, experts=experts, consistency=consistency)
                memory = in_fresh_process(__file__, cell)
                cells = step_cells(*step_and_parts(**cell), args.runs, memory)
                print_row(targets, experts, "yes" if consistency else "no", *cells)


if __name__ == "__main__":
    main()
