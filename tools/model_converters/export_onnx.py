"""Write a single-stage detector's backbone, neck and head as an ONNX file, checked against torch.

python tools/model_converters/export_onnx.py CONFIG CHECKPOINT OUT.onnx --shape 640 640
"""

import argparse
import inspect
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import mmext  # noqa: F401  (lets configs inherit from 'mmext::...')
from mmext.checkpoints.safe_load import TRUST_FLAG, load_untrusted
from mmext.engine import import_host
from mmext.engine.preflight import explain_unknown_type
from mmext.files import replacing
from mmext.registry import MODELS

# Differences from torch beyond this share of an output's largest value are an error. Rounding
# gives a hundredth of it.
TOLERANCE = 1e-3


class Difference(NamedTuple):
    """The output of an ONNX file that differs most from torch."""

    output: str
    value: float
    """Largest absolute difference."""
    peak: float
    """Largest absolute value of the output in torch."""


class RawNetwork(nn.Module):
    """The raw outputs of a detector, one name for each.

    Args:
        model: A detector with backbone, neck and ``bbox_head``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        # By mm's convention predict_by_feat takes what forward returns, a list over levels each.
        self.names = list(inspect.signature(model.bbox_head.predict_by_feat).parameters)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Run the network.

        Args:
            image: (N, 3, H, W) as the data preprocessor gives it.

        Returns:
            The outputs of the head's ``forward`` as ``<argument of predict_by_feat>_<level>``.
        """
        outputs = self.model(image, mode="tensor")
        return {
            f"{name}_{level}": output
            for name, levels in zip(self.names, outputs, strict=False)
            for level, output in enumerate(levels)
        }


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", type=Path, help="weights of the config's model")
    parser.add_argument("target", type=Path, metavar="OUT.onnx", help="file to write")
    parser.add_argument(
        "--shape",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=(640, 640),
        help="height and width of the images, fixed in the file (default: 640 640)",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        help="settings that override the config: key=value, nested keys with dots",
    )
    parser.add_argument(
        TRUST_FLAG,
        action="store_true",
        help="read the checkpoint with the unrestricted unpickler, which can run any code",
    )
    return parser.parse_args()


def build_model(
    config: str, checkpoint: Path, cfg_options: dict[str, Any] | None, *, trust: bool
) -> nn.Module:
    """Build a detector in eval mode and load its weights.

    Args:
        config: Config file.
        checkpoint: File with ``state_dict``, or a bare state dict.
        cfg_options: Settings that override the config.
        trust: As for :func:`mmext.checkpoints.safe_load.load_untrusted`.

    Raises:
        FileNotFoundError: ``config`` or ``checkpoint`` does not exist.
        ValueError: The weights are not those of the model, or it is no single-stage detector.
    """
    if not Path(config).is_file():
        raise FileNotFoundError(f"config {config!r} does not exist. Expected a .py config file.")
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(cfg_options or {})
    import_host(cfg.get("default_scope", "mmengine"))
    init_default_scope(cfg.get("default_scope", "mmengine"))
    with explain_unknown_type(cfg):
        model = MODELS.build(cfg.model)
    if not hasattr(getattr(model, "bbox_head", None), "predict_by_feat"):
        raise ValueError(
            f"{config}: {type(model).__name__} is no single-stage detector. Expected a model with "
            "backbone, neck and bbox_head."
        )
    weights = load_untrusted(checkpoint, trust=trust)
    try:
        model.load_state_dict(weights.get("state_dict", weights))
    except RuntimeError as error:
        raise ValueError(
            f"{checkpoint} is not a checkpoint of {config}. Use the config that it was trained "
            f"with. In detail: {error}"
        ) from error
    return model.eval()


def sample_image(model: nn.Module, shape: Sequence[int]) -> Tensor:
    """Return noise in the form of a preprocessed image, (1, 3, H, W).

    Raises:
        ValueError: The model never sees images of that shape.
    """
    divisor = getattr(model.data_preprocessor, "pad_size_divisor", 1)
    if min(shape) < 1 or any(size % divisor for size in shape):
        raise ValueError(
            f"--shape {shape[0]} {shape[1]}: images of this model are padded to multiples of "
            f"{divisor} (model.data_preprocessor.pad_size_divisor). Give such a height and width."
        )
    return torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def export(model: nn.Module, target: Path, shape: Sequence[int]) -> list[Difference]:
    """Write the network, run the file with ONNX Runtime, and put it in place if it agrees.

    Args:
        model: As :func:`build_model` returns it.
        target: File to write.
        shape: Height and width of the images.

    Returns:
        The largest difference of each output for one image of noise.

    Raises:
        ModuleNotFoundError: A package of the ``export`` extra is missing.
        RuntimeError: ONNX Runtime's outputs are not torch's.
        ValueError: The model cannot take images of that shape.
    """
    from mmext.ops.onnx_export import OPSET_VERSION, onnx_translations

    image = sample_image(model, shape)
    network = RawNetwork(model).eval()
    try:
        expected = network(image)
    except RuntimeError as error:
        raise ValueError(
            f"The network does not run on images of {shape[0]}x{shape[1]}: {error}. Give --shape "
            "multiples of its largest stride."
        ) from error
    program = torch.onnx.export(
        network,
        (image,),
        input_names=["image"],
        output_names=list(expected),
        opset_version=OPSET_VERSION,
        custom_translation_table=onnx_translations(),
        verbose=False,
    )
    with replacing(target) as part:
        program.save(part, external_data=False)
        return compare(part, image, expected)


def compare(path: Path, image: Tensor, expected: dict[str, Tensor]) -> list[Difference]:
    """Run an ONNX file and compare its outputs with torch's.

    Args:
        path: The file.
        image: Its input.
        expected: The outputs of torch by name.

    Returns:
        The largest difference of each output.

    Raises:
        ModuleNotFoundError: ONNX Runtime is missing.
        RuntimeError: A difference is beyond ``TOLERANCE``.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The check of the export needs onnxruntime: pip install 'mmext[export]'"
        ) from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = session.run(list(expected), {"image": image.numpy()})
    differences = [
        Difference(
            name,
            (torch.from_numpy(output) - expected[name]).abs().max().item(),
            expected[name].abs().max().item(),
        )
        for name, output in zip(expected, outputs, strict=True)
    ]
    # Negated, so that NaN counts as a difference.
    wrong = [d for d in differences if not d.value <= TOLERANCE * max(d.peak, 1)]
    if wrong:
        listed = ", ".join(f"{d.output} by {d.value:.1e} (values to {d.peak:.1e})" for d in wrong)
        raise RuntimeError(f"ONNX Runtime differs from torch: {listed}. No file was written.")
    return differences


def main() -> None:
    """Export, or say what is wrong and exit with status 1."""
    args = parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision
    warnings.filterwarnings("ignore", category=FutureWarning)  # by torch about itself
    try:
        model = build_model(
            args.config, args.checkpoint, args.cfg_options, trust=args.trust_checkpoint
        )
        differences = export(model, args.target, args.shape)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")
    worst = max(differences, key=lambda difference: difference.value)
    size = args.target.stat().st_size / 1e6
    print(
        f"{args.target} ({size:.1f} MB): {len(differences)} outputs of a 1x3x{args.shape[0]}x"
        f"{args.shape[1]} image\nlargest difference from torch: {worst.value:.1e} in "
        f"{worst.output}, whose values reach {worst.peak:.1e}"
    )


if __name__ == "__main__":
    main()
