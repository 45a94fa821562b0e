"""Restore an image, a folder of images or a video.

    python tools/restore.py CONFIG CHECKPOINT IN OUT

Images keep size, bit depth, channels and names; transparency is passed through, grey images are
restored as colour and averaged. Large ones are restored tile by tile. Files of a folder that cannot
be read are reported and skipped, and the exit status is 1 then; ``--strict`` stops at the first.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint

import mmext  # noqa: F401  (lets configs inherit from 'mmext::...')
from mmext.checkpoints import install_safe_loading
from mmext.checkpoints.safe_load import TRUST_FLAG
from mmext.restoration import ImageRestorer
from mmext.restoration.datasets import list_images
from mmext.restoration.image_io import IMAGE_SUFFIXES, PEAKS, ImageError, read_image, write_image

VIDEO_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file of an ImageRestorer")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("source", type=Path, metavar="IN", help="image, folder or video")
    parser.add_argument("target", type=Path, metavar="OUT", help="file, or folder for a folder")
    parser.add_argument(
        "--tile",
        type=int,
        default=512,
        help="side of the tiles of larger images, in pixels; 0: whole images",
    )
    parser.add_argument("--overlap", type=int, default=32, help="pixels that tiles share")
    parser.add_argument("--device", default=get_device(), help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--strict", action="store_true", help="stop at the first unreadable file")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="settings that override the config"
    )
    parser.add_argument(
        TRUST_FLAG,
        action="store_true",
        help="read the checkpoint with the unrestricted unpickler; only if you know its origin",
    )
    return parser.parse_args()


def load_restorer(args: argparse.Namespace) -> ImageRestorer:
    """Build the model of a config and load its weights.

    Raises:
        FileNotFoundError: The config does not exist.
        ValueError: The config is of another kind, or the checkpoint does not fit it.
    """
    if not Path(args.config).is_file():
        raise FileNotFoundError(f"config {args.config!r} does not exist. Expected a .py file.")
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get("default_scope", "mmengine"))
    model = MODELS.build(cfg.model)
    if not isinstance(model, ImageRestorer):
        raise ValueError(
            f"{args.config}: model is no ImageRestorer. Expected a restoration config."
        )
    if cfg.model.generator.get("dd_in", 3) != 3:
        raise ValueError(
            f"{args.config}: its network takes several views of a scene, this tool single images. "
            "Use tools/test.py with a data set of views."
        )
    install_safe_loading(trust=args.trust_checkpoint)
    try:
        load_checkpoint(model, args.checkpoint, map_location="cpu", strict=True, logger="silent")
    except RuntimeError as error:
        if "do not match" not in str(error) and "state_dict" not in str(error):
            raise
        raise ValueError(
            f"{args.checkpoint} does not fit {args.config}. Use the config that it was trained "
            f"with. In detail: {error}"
        ) from error
    model.test_cfg.update(tile=args.tile or None, overlap=args.overlap)
    return model.to(args.device).eval()


def restore(
    model: ImageRestorer, image: np.ndarray, progress: Callable[[int, int], None]
) -> np.ndarray:
    """Restore one image.

    Args:
        model: The restorer.
        image: (H, W, C) grey, BGR, or BGR and alpha; uint8, uint16 or float32.
        progress: Called with (tiles done, tiles in all).

    Returns:
        An image of the same shape and dtype.
    """
    channels = image.shape[2]
    if channels not in (1, 3, 4):
        raise ImageError(f"{channels} channels; expected grey, colour, or colour with alpha")
    colours = np.repeat(image, 3, axis=2) if channels == 1 else image[..., :3]
    tensor = torch.from_numpy(np.ascontiguousarray(colours.transpose(2, 0, 1)))
    prepared = model.data_preprocessor(dict(inputs=[tensor]))["inputs"]
    sample = model.predict(prepared, progress=progress)[0]
    # From RGB back to the order in which the images came.
    restored = sample.pred_img.cpu().permute(1, 2, 0).numpy()
    restored = restored[..., ::-1] if model.data_preprocessor.bgr_to_rgb else restored
    if channels == 1:
        restored = restored.mean(axis=2, keepdims=True)
    peak = PEAKS[image.dtype]
    restored = restored if peak == 1 else np.round(restored * peak)
    return np.concatenate([restored.astype(image.dtype), image[..., 3:]], axis=2)


def read_upright(path: Path) -> np.ndarray:
    """Read an image, turned as its metadata says: the result is written without them."""
    image = read_image(path)
    if image.shape[2] == 4:
        return image
    turned = cv2.imread(str(path), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    return turned[..., None] if turned.ndim == 2 else turned


def show_tiles(label: str) -> Callable[[int, int], None]:
    """Return a function that shows the tiles of a large image on a terminal."""

    def show(done: int, total: int) -> None:
        if total > 1 and sys.stderr.isatty():
            end = "\r" if done < total else "\r\033[K"
            print(f"{label}: tile {done}/{total}", end=end, file=sys.stderr, flush=True)

    return show


def restore_images(model: ImageRestorer, jobs: list[tuple[Path, Path]], strict: bool) -> list[str]:
    """Restore files.

    Args:
        model: The restorer.
        jobs: Source and target of each.
        strict: Raise at the first file that cannot be restored.

    Returns:
        A message for each file that was skipped.

    Raises:
        ImageError: A file cannot be restored and ``strict`` is set.
    """
    skipped: list[str] = []
    start = time.perf_counter()
    for index, (source, target) in enumerate(jobs):
        label = f"[{index + 1}/{len(jobs)}] {source}"
        try:
            image = read_upright(source)
            write_image(target, restore(model, image, show_tiles(label)))
        except (ImageError, OSError) as error:
            message = str(error) if str(source) in str(error) else f"{source}: {error}"
            if strict:
                raise ImageError(message) from error
            skipped.append(message)
            print(f"[{index + 1}/{len(jobs)}] skipped: {message}", file=sys.stderr, flush=True)
            continue
        left = (time.perf_counter() - start) / (index + 1) * (len(jobs) - index - 1)
        size = f"{image.shape[1]}x{image.shape[0]}"
        print(f"{label} ({size}) -> {target}, about {left:.0f} s left", flush=True)
    return skipped


def frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yield the (H, W, 3) BGR frames of a video."""
    while True:
        found, frame = capture.read()
        if not found:
            return
        yield frame


def restore_video(model: ImageRestorer, source: Path, target: Path) -> None:
    """Restore a video frame by frame; size and frame rate are kept, sound is not.

    Raises:
        ImageError: The video cannot be read, or the target cannot be written.
    """
    capture = cv2.VideoCapture(str(source))
    size = tuple(int(capture.get(k)) for k in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    codec = VIDEO_CODECS.get(target.suffix.lower())
    if not capture.isOpened() or codec is None:
        raise ImageError(
            f"{source} cannot be restored to {target}. Expected a readable video and a name that "
            f"ends with one of {', '.join(VIDEO_CODECS)}."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".part-{target.name}")
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    writer = cv2.VideoWriter(str(part), cv2.VideoWriter_fourcc(*codec), rate, size)
    start, done = time.perf_counter(), 0
    try:
        for frame in frames(capture):
            writer.write(restore(model, frame, show_tiles(f"frame {done + 1}")))
            done += 1
            left = (time.perf_counter() - start) / done * max(total - done, 0)
            print(f"[{done}/{total or '?'}] frames, about {left:.0f} s left", flush=True)
        writer.release()
        if not done:
            raise ImageError(f"{source} has no readable frame.")
        os.replace(part, target)
        print(f"{source} -> {target}")
    finally:
        writer.release()
        part.unlink(missing_ok=True)


def plan(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Return source and target of each image to restore.

    Raises:
        FileNotFoundError: The source does not exist.
        ValueError: The results would overwrite the source, or there is nothing to restore.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist. Expected an image, folder or video.")
    if source.is_dir():
        if target.suffix.lower() in IMAGE_SUFFIXES:
            raise ValueError(f"{source} is a folder, {target} names an image. Name a folder.")
        jobs = [(source / name, target / name) for name in list_images(str(source))]
        if not jobs:
            raise ValueError(f"{source} has no images ({', '.join(IMAGE_SUFFIXES)}).")
    else:
        is_file = target.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_CODECS)
        jobs = [(source, target if is_file else target / source.name)]
    for one, other in jobs:
        if one.resolve() == other.resolve():
            raise ValueError(f"{other} would overwrite its source. Name another file or folder.")
    return jobs


def main() -> None:
    """Restore, and report what was skipped."""
    args = parse_args()
    try:
        jobs = plan(args.source, args.target)
        model = load_restorer(args)
        if args.source.suffix.lower() in VIDEO_CODECS and args.source.is_file():
            restore_video(model, *jobs[0])
            return
        skipped = restore_images(model, jobs, args.strict)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    print(f"{len(jobs) - len(skipped)} of {len(jobs)} images restored")
    if skipped:
        sys.exit(f"{len(skipped)} skipped:\n" + "\n".join(skipped))


if __name__ == "__main__":
    main()
