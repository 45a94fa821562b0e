"""Times BDL on a CPU: its step and its evaluation beside the official ones, and translation.

    python tools/benchmarks/bdl.py [--networks light r101] [--threads 1] [--runs 5]

Prints three markdown tables. The first has an iteration with a source image and a target image,
the same networks, weights and images in all columns: the official step in plain torch
(``literal_bdl.py``); ours with the official oddity of updating most parameters of the backbone
several times; ours as it is meant, each parameter updated once, by torch's fused optimisers. Losses
are compared over three iterations with the oddity: the largest difference, relative to the loss.
Memory is what the peak of two iterations adds to the resident size of a fresh process with the
networks and images in it, gradients and states of the optimisers included (Linux only). ``r101`` is
DeepLab-v2 with ResNet-101, 19 classes, at 512 x 256 pixels; ``light`` EfficientNet-Lite0 with a
small FCN head, 9 classes, at 192 x 96.

The second table has images per second through CycleGAN's generator, from and to bytes; the third
the milliseconds to count a prediction of 2048 x 1024 pixels: ``UDAIoUMetric``, and a histogram of
numpy's per image.

Times are the best of several runs in turns. With one thread it is the time that the process had on
a core, with more it is wall time.
"""

import argparse
import copy
import json

import numpy as np
import torch
from literal_bdl import LiteralBDL, histogram
from measuring import best_times, forget_peak, in_fresh_process, print_head, print_row, resident_mib
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmext.segmentation import ImageTranslator, UDAIoUMetric
from mmext.segmentation.datasets import CLASS_SETS

LR, LAMBDA = 2.5e-4, 0.001
COLUMNS = ("literal", "ours, repeated", "ours")
# Mean over the pixels that count, as in the official code.
LOSS = dict(type="CrossEntropyLoss", avg_non_ignore=True)
NETWORKS = {
    "r101": dict(
        size=(256, 512),
        classes=19,
        backbone=dict(type="mmext.DeepLabV2ResNet", depth=101),
        decode_head=dict(type="mmext.DeepLabV2Head", num_classes=19, loss_decode=LOSS),
    ),
    "light": dict(
        size=(96, 192),
        classes=9,
        backbone=dict(type="mmext.EfficientNetLite", out_indices=(4,), init_cfg=None),
        decode_head=dict(
            type="FCNHead",
            in_channels=112,
            in_index=0,
            channels=64,
            num_convs=1,
            concat_input=False,
            dropout_ratio=0.0,
            num_classes=9,
            norm_cfg=dict(type="BN"),
            loss_decode=LOSS,
        ),
    ),
}
# Width and number of residual blocks of generators, and the size of images.
GENERATORS = (
    (64, 9, (256, 512)),
    (64, 9, (96, 192)),
    (16, 3, (96, 192)),
)


def build_model(network: str) -> nn.Module:
    """Build one of the models, always with the same weights."""
    torch.manual_seed(0)
    spec = NETWORKS[network]
    plain = dict(type="SegDataPreProcessor", mean=[127.0] * 3, std=[64.0] * 3, size_divisor=1)
    segmentor = dict(
        type="EncoderDecoder",
        data_preprocessor=plain,
        backbone=spec["backbone"],
        decode_head=spec["decode_head"],
        test_cfg=dict(mode="whole"),
    )
    judge = dict(type="mmext.OutputDiscriminator", num_classes=spec["classes"])
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(
            dict(type="mmext.BDL", segmentor=segmentor, discriminator=judge, lambda_adv=LAMBDA)
        )
    return model.train()


def make_batch(network: str, pseudo: bool) -> dict:
    """Draw a batch as mmext's loader gives it: bytes, labels in blocks, a tenth ignored."""
    spec, rng = NETWORKS[network], np.random.default_rng(0)
    batch = dict(inputs={}, data_samples={})
    for role in ("source", "target"):
        image = rng.integers(0, 256, (3, *spec["size"]), dtype=np.uint8)
        sample = SegDataSample(metainfo=dict(role=role, img_shape=spec["size"]))
        if role == "source" or pseudo:
            blocks = rng.integers(0, spec["classes"], [side // 16 for side in spec["size"]])
            labels = blocks.repeat(16, 0).repeat(16, 1)
            labels[rng.random(spec["size"]) < 0.1] = 255
            sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels[None]))
            sample.set_metainfo(dict(label_source="own" if role == "source" else "pseudo"))
        batch["inputs"][role] = [torch.from_numpy(image)]
        batch["data_samples"][role] = [sample]
    return batch


def wrappers(model: nn.Module, *, repeated: bool) -> OptimWrapperDict:
    """Build the optimisers, fused or with the official oddity."""
    sgd = dict(type="SGD", lr=LR, momentum=0.9, weight_decay=5e-4)
    adam = dict(type="Adam", lr=1e-4, betas=(0.9, 0.99))
    if repeated:
        segmentor = dict(constructor="mmext.DuplicateParamsConstructor", optimizer=sgd)
    else:
        tenfold = dict(custom_keys=dict(decode_head=dict(lr_mult=10)))
        segmentor = dict(optimizer=dict(sgd, fused=True), paramwise_cfg=tenfold)
        adam["fused"] = True
    return build_optim_wrapper(
        model,
        dict(
            constructor="mmext.MultiOptimWrapperConstructor",
            segmentor=segmentor,
            discriminator=dict(optimizer=adam),
        ),
    )


class Ours:
    """Our step on a batch, with one of the two ways to update."""

    def __init__(self, network: str, batch: dict, repeated: bool) -> None:
        self.model = build_model(network)
        self.wrappers = wrappers(self.model, repeated=repeated)
        self.batch = batch

    def __call__(self) -> dict[str, float]:
        """Run an iteration and return its losses."""
        logs = self.model.train_step(self.batch, self.wrappers)
        return {name: float(value) for name, value in logs.items()}


class Literal:
    """The literal step on a batch; images were preprocessed before."""

    def __init__(self, network: str, batch: dict) -> None:
        model = build_model(network)
        self.net = LiteralBDL(model.segmentor, model.discriminator, LR, LAMBDA)
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        labels = {
            name: torch.stack([sample.gt_sem_seg.data[0] for sample in samples])
            for name, samples in data["data_samples"].items()
            if "gt_sem_seg" in samples[0]
        }
        images = data["inputs"]
        self.data = (images["source"], labels["source"], images["target"], labels.get("target"))

    def __call__(self) -> dict[str, float]:
        """Run an iteration and return its losses."""
        return self.net.step(*self.data)


def make_step(name: str, network: str, pseudo: bool) -> Ours | Literal:
    """Return what a column of the first table runs."""
    batch = make_batch(network, pseudo)
    return Literal(network, batch) if name == "literal" else Ours(network, batch, name != "ours")


def largest_difference(network: str, pseudo: bool, iterations: int = 3) -> float:
    """Return how far the losses of ours and of the literal step are apart, at most."""
    literal, ours = (make_step(name, network, pseudo) for name in COLUMNS[:2])
    worst = 0.0
    for _ in range(iterations):
        expected, found = literal(), ours()
        for name, value in expected.items():
            worst = max(worst, abs(found.get(name, 0.0) - value) / max(abs(value), 1e-12))
    return worst


def measure_memory(cell: dict) -> float:
    """Return by how many MiB a second iteration raises this process's peak."""
    torch.set_num_threads(1)
    make_step(cell["name"], "light", cell["pseudo"])()  # libraries are loaded
    run = make_step(cell["name"], cell["network"], cell["pseudo"])
    before = forget_peak()
    run()
    run()
    return resident_mib("VmHWM") - before


def print_steps(networks: list[str], runs: int) -> None:
    """Measure and print the first table."""
    times = [f"{name}, ms" for name in COLUMNS]
    ratios = [f"literal / {name}" for name in COLUMNS[1:]]
    memory = [f"{name}, MiB" for name in COLUMNS]
    print_head("network", "labels of the target", *times, *ratios, *memory, "losses differ by")
    for network in networks:
        for pseudo in (False, True):
            calls = {name: make_step(name, network, pseudo) for name in COLUMNS}
            best = best_times(calls, runs)
            del calls
            common = dict(network=network, pseudo=pseudo)
            peaks = [in_fresh_process(__file__, dict(name=name, **common)) for name in COLUMNS]
            print_row(
                network,
                "pseudo" if pseudo else "none",
                *(f"{1e3 * best[name]:.0f}" for name in COLUMNS),
                *(f"{best['literal'] / best[name]:.2f}" for name in COLUMNS[1:]),
                *(f"{peak:.0f}" for peak in peaks),
                f"{largest_difference(network, pseudo):.1e}",
            )


def print_translation(runs: int) -> None:
    """Measure and print the second table."""
    print()
    print_head("generator", "size", "images / s", "s / image")
    for width, blocks, (height, columns) in GENERATORS:
        generator = dict(type="mmext.CycleGANGenerator", base_channels=width, num_blocks=blocks)
        judge = dict(type="mmext.PatchDiscriminator", base_channels=width)
        torch.manual_seed(0)
        model = ImageTranslator(
            generators=dict(a2b=generator, b2a=generator), discriminators=dict(a=judge, b=judge)
        ).eval()
        image = torch.randint(0, 256, (3, height, columns), dtype=torch.uint8)

        def translate(model: nn.Module = model, image: torch.Tensor = image) -> np.ndarray:
            sample = model.test_step(dict(inputs=[image], data_samples=None))[0]
            return (255 * sample.pred_img).byte().numpy()

        seconds = best_times(dict(ours=translate), runs)["ours"]
        size = f"{columns} x {height}"
        print_row(
            f"{width} channels, {blocks} blocks", size, f"{1 / seconds:.2f}", f"{seconds:.3f}"
        )


def print_evaluation(runs: int) -> None:
    """Measure and print the third table."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 19, (128, 256))
    target = blocks.repeat(8, 0).repeat(8, 1)
    pred = np.where(rng.random(target.shape) < 0.8, target, rng.integers(0, 19, target.shape))
    target[rng.random(target.shape) < 0.1] = 255
    metric = UDAIoUMetric()
    metric.dataset_meta = dict(classes=CLASS_SETS["cityscapes_19"].names)
    maps = (torch.from_numpy(part)[None] for part in (pred, target))
    sample = dict(zip(("pred_sem_seg", "gt_sem_seg"), (dict(data=m) for m in maps), strict=True))

    def ours() -> np.ndarray:
        metric.results.clear()
        metric.process({}, [sample])
        return metric.results[0][1]

    def literal() -> np.ndarray:
        return histogram(target, pred, 19)

    if not np.array_equal(ours(), literal()):
        raise RuntimeError("the two confusion matrices differ")
    best = best_times(dict(literal=literal, ours=ours), 4 * runs)
    print()
    print_head("2048 x 1024 pixels, 19 classes", "numpy, ms", "ours, ms", "numpy / ours")
    times = [f"{1e3 * best[name]:.1f}" for name in ("literal", "ours")]
    print_row("confusion matrix", *times, f"{best['literal'] / best['ours']:.2f}")


def main() -> None:
    """Print the tables, or the memory of one cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5, help="runs for the best of a cell")
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    MMLogger.get_instance("mmengine", log_level="ERROR")
    if args.cell:
        print(measure_memory(args.cell))
        return
    torch.set_num_threads(args.threads)
    print_steps(args.networks, args.runs)
    print_translation(args.runs)
    print_evaluation(args.runs)


if __name__ == "__main__":
    main()
