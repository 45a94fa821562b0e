"""Train the tiny Uformer and a plain U-Net for equal minutes, and compare classical denoisers.

Both networks share data, optimiser, schedule, losses and threads, and have as many parameters; each
gets as many iterations as fit into ``--minutes``, by a timing of their steps in turns. Minutes are
those of the processor, divided by the threads, so that other work on the machine does not count.
The classical denoisers see the same test pictures, each with the setting of its grid that is best
on those very pictures. All results are rounded to 8 bits. What is finished stays in ``--out``: an
interrupted benchmark goes on where it stopped.

    python tools/dataset_converters/photos.py
    python tools/benchmarks/restoration_peers.py --data photos polyu --seeds 0
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from classical_denoisers import best_setting, settings
from mmengine.config import Config
from run_queue import ROOT, TIMED_STEPS, WARM_UP_STEPS, StepTimer, set_iterations, write_json

from mmext.restoration.quality import prepare_image, psnr, ssim

CONFIGS = Path(__file__).resolve().parent / "configs"
MODELS = ("uformer", "unet")
# Deviation of the noise around which the grids of the classical denoisers lie, of 255. PolyU's
# noise varies from picture to picture; it is that of a PSNR of 36 dB.
SIGMAS = dict(photos=25.0, polyu=4.0)


def load_config(model: str, data: str, seed: int, work_dir: Path) -> Config:
    """Return the config of one run: the model's, with the data's merged over it.

    Args:
        model: One of ``MODELS``.
        data: A key of ``SIGMAS``.
        seed: Seed of initialisation, order and augmentation.
        work_dir: Folder for the log.
    """
    cfg = Config.fromfile(CONFIGS / f"restoration_{model}.py")
    if data != "photos":
        cfg.merge_from_dict(Config.fromfile(CONFIGS / f"restoration_{data}.py").to_dict())
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=seed)
    for name in ("test_evaluator", "val_evaluator"):
        cfg[name] = [
            dict(type="mmext.PSNR", rounding="uint8"),
            dict(type="mmext.SSIM", protocol="gaussian", rounding="uint8"),
        ]
    return cfg


def set_up(threads: int) -> None:
    """Limit the threads of this process and register the plain U-Net."""
    import cv2
    import plain_unet  # noqa: F401
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def calibrate(args: argparse.Namespace) -> None:
    """Write ``calibration.json``, the seconds per step of each model on each data set."""
    path = args.out / "calibration.json"
    if path.is_file():
        return
    set_up(args.threads)
    timers = {
        f"{data}-{model}": StepTimer(load_config(model, data, 0, args.out), args.threads)
        for data in args.data
        for model in args.models
    }
    for _ in range(WARM_UP_STEPS + TIMED_STEPS):
        for timer in timers.values():
            timer.step()
    seconds = {name: timer.seconds() for name, timer in timers.items()}
    print("seconds per step:", seconds, flush=True)
    write_json(path, seconds)


def train_and_test(model: str, data: str, seed: int, args: argparse.Namespace) -> None:
    """Train and test once in this process; write ``result.json`` when all of it is done."""
    set_up(args.threads)
    from mmext.engine import Runner

    folder = args.out / f"{data}-{model}-{seed}"
    cfg = load_config(model, data, seed, folder)
    iterations = args.iterations
    if iterations is None:
        seconds = json.loads((args.out / "calibration.json").read_text())[f"{data}-{model}"]
        iterations = round(60 * args.minutes / seconds)
    set_iterations(cfg, iterations)
    cfg.default_hooks.checkpoint.update(interval=iterations, save_best=None)
    runner = Runner.from_cfg(cfg)
    start = time.process_time()
    runner.train()
    minutes = (time.process_time() - start) / 60 / args.threads
    figures = runner.test()
    result = dict(
        method=f"{model} ({sum(p.numel() for p in runner.model.parameters()) / 1e6:.2f} M)",
        setting=f"{iterations} iterations",
        minutes=minutes,
        PSNR=figures["restoration/PSNR"],
        SSIM=figures["restoration/SSIM_gaussian"],
    )
    write_json(folder / "result.json", result)


def test_pairs(data: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the test pictures of a data set: noisy and clean, (H, W, 3) RGB in [0, 1]."""
    from mmengine.registry import DATASETS

    cfg = load_config("uformer", data, 0, Path()).test_dataloader.dataset
    dataset = DATASETS.build(cfg | dict(pipeline=[dict(type="mmext.LoadImagePair")]))
    return [(pair["img"][..., ::-1] / 255, pair["gt"][..., ::-1] / 255) for pair in dataset]


def rounded(figure: Callable[..., float], *options: str) -> Callable[..., float]:
    """Return ``figure`` of images that are cut to [0, 1] and rounded to 8 bits first."""

    def compute(pred: np.ndarray, target: np.ndarray) -> float:
        images = [prepare_image(image.clip(0, 1), rounding="uint8") for image in (pred, target)]
        return figure(*images, *options)

    return compute


def run_classical(data: str, method: str, args: argparse.Namespace) -> None:
    """Find a denoiser's best setting and write ``result.json``."""
    set_up(args.threads)
    score, similarity = rounded(psnr), rounded(ssim, "gaussian")
    pairs = test_pairs(data)
    if method == "input":
        setting, denoise = "", lambda image: image
    else:
        candidates = settings(SIGMAS[data] / 255)[method]
        setting, denoise = best_setting(candidates, pairs, score)
    start = time.process_time()
    results = [(denoise(noisy), clean) for noisy, clean in pairs]
    result = dict(
        method=method,
        setting=setting,
        minutes=(time.process_time() - start) / 60 / args.threads,
        PSNR=float(np.mean([score(*pair) for pair in results])),
        SSIM=float(np.mean([similarity(*pair) for pair in results])),
    )
    write_json(args.out / f"{data}-{method}-0" / "result.json", result)


def markdown_table(results: list[dict]) -> str:
    """Return a line per method, with the mean and range over its seeds."""
    lines = [
        "| method | PSNR in dB | SSIM (gaussian) | CPU minutes | setting |",
        "|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(result["method"] for result in results):
        group = [result for result in results if result["method"] == method]
        cells = [method]
        for key, digits in (("PSNR", 2), ("SSIM", 4)):
            values = [result[key] for result in group]
            text = f"{statistics.mean(values):.{digits}f}"
            if len(values) > 1:
                text += f" ({min(values):.{digits}f}-{max(values):.{digits}f})"
            cells.append(text)
        cells.append(f"{statistics.mean(result['minutes'] for result in group):.1f}")
        lines.append("| " + " | ".join([*cells, group[0]["setting"]]) + " |")
    return "\n".join(lines)


def run_all(args: argparse.Namespace) -> None:
    """Run what is not finished, each in a process of its own, and print a table per data set.

    Raises:
        SystemExit: A run failed; its log's last lines are printed.
    """
    classical = ["input", *settings(0.1)]
    for data in args.data:
        runs = [(method, 0) for method in classical]
        runs += [(model, seed) for seed in args.seeds for model in args.models]
        folders = [args.out / f"{data}-{method}-{seed}" for method, seed in runs]
        for index, ((method, seed), folder) in enumerate(zip(runs, folders, strict=True)):
            if (folder / "result.json").is_file():
                continue
            print(f"[{index + 1}/{len(runs)}] {folder.name}", flush=True)
            run_process(method, data, seed, folder, args)
        results = [json.loads((folder / "result.json").read_text()) for folder in folders]
        print(f"\n{data}, test pictures\n\n{markdown_table(results)}\n", flush=True)


def run_process(method: str, data: str, seed: int, folder: Path, args: argparse.Namespace) -> None:
    """Run one method in a process of its own, its output in ``stdout.log``."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(Path(__file__).resolve()), "--run", method, data, str(seed)]
    command += ["--minutes", str(args.minutes), "--threads", str(args.threads)]
    command += ["--out", str(args.out.resolve())]
    if args.iterations is not None:
        command += ["--iterations", str(args.iterations)]
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads))
    with (folder / "stdout.log").open("w") as log:
        code = subprocess.call(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
    if code != 0:
        tail = (folder / "stdout.log").read_text().splitlines()[-15:]
        sys.exit("\n".join([*tail, f"{folder.name} failed; all of it: {folder}/stdout.log"]))


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=list(SIGMAS), default=["photos"])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="processor time of each run")
    parser.add_argument("--iterations", type=int, help="instead of --minutes, for quick checks")
    parser.add_argument("--threads", type=int, default=2, help="threads of each run")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/restoration_peers"))
    parser.add_argument(
        "--run", nargs=3, metavar=("METHOD", "DATA", "SEED"), help=argparse.SUPPRESS
    )
    return parser.parse_args()


def main() -> None:
    """Run the benchmark, or (``--run``) one of its runs."""
    args = parse_args()
    if args.run:
        method, data, seed = args.run
        if method in MODELS:
            train_and_test(method, data, int(seed), args)
        else:
            run_classical(data, method, args)
        return
    if importlib.util.find_spec("pywt") is None:
        sys.exit("scikit-image's wavelets need PyWavelets: pip install PyWavelets")
    if args.iterations is None:
        calibrate(args)
    run_all(args)


if __name__ == "__main__":
    main()
