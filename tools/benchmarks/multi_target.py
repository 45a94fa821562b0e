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

import argparse
import json

import torch
from measuring import best_times, forget_peak, in_fresh_process, print_head, print_row, resident_mib
from mmengine.config import Config
from mmengine.logging import MMLogger
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


def time_step(targets: int, experts: str, consistency: bool, runs: int) -> dict[str, float]:
    """Return seconds of a step and of its parts, and how far their losses are apart."""
    batch = make_batch(1, targets)
    (whole, optim), (alone, other) = (build(targets, experts, consistency) for _ in range(2))

    def step() -> Tensor:
        return whole.train_step(batch, optim)["loss"]

    def parts() -> Tensor:
        return one_by_one(alone, other, batch)

    difference = (step() - parts()).abs().item()
    return best_times(dict(step=step, parts=parts), runs) | dict(difference=difference)


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="+", type=int, default=[2, 3])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    MMLogger.get_instance("benchmark", log_level="ERROR")  # or it names each shared parameter
    if args.cell:
        print(added_memory(**json.loads(args.cell)))
        return
    heads = ("targets", "experts", "consistency", "parameters", "step", "parts", "parts / step")
    print_head(*heads, "memory")
    for experts in ("separate", "shared_backbone"):
        for targets in args.targets:
            for consistency in (False, True):
                cell = dict(targets=targets, experts=experts, consistency=consistency)
                times = time_step(**cell, runs=args.runs)
                assert times["difference"] < 1e-3, times
                memory = in_fresh_process(__file__, cell)
                count = sum(p.numel() for p in build(**cell)[0].parameters()) / 1e6
                step, parts = times["step"], times["parts"]
                print_row(
                    targets,
                    experts,
                    "yes" if consistency else "no",
                    f"{count:.2f} M",
                    f"{step:.2f} s",
                    f"{parts:.2f} s",
                    f"{parts / step:.2f}",
                    f"{memory:.0f} MiB",
                )


if __name__ == "__main__":
    main()
