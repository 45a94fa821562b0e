"""Taking the adapted segmentor out of its training: a plain config and checkpoint of mmseg's."""

import copy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmext.checkpoints.safe_load import load_untrusted
from mmext.engine.preflight import walk
from mmext.files import replacing

# What belongs to the training of the wrapper and means nothing to the segmentor alone.
_TRAINING = (
    *("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr"),
    *("model_wrapper_cfg", "load_from", "resume", "runner_type", "work_dir", "launcher"),
    *("trust_checkpoint", "custom_hooks"),
)


def segmentor_config(cfg: Config, part: str = "segmentor") -> Config:
    """Return the config with which the segmentor alone is tested, by any of mmseg's tools.

    Args:
        cfg: Config of an adaptation.
        part: Which part of the model: the key of its config in ``cfg.model``, with dots for keys in
            keys (a model of an ensemble is ``'segmentor.members.NAME'``), or, as all experts are
            built like the segmentor, ``'experts.'`` and the name of a target.

    Raises:
        ValueError: ``cfg.model`` has no such part.
    """
    expert = part.removeprefix("experts.") in cfg.model.get("targets", ())
    model: Any = cfg.model
    for key in ["segmentor"] if expert else part.split("."):
        inner = model.get(key)
        if not isinstance(inner, dict):
            raise ValueError(
                f"model.{part} is no config of a segmentor: there is no {key!r} among "
                f"{sorted(model)}. Expected the config that the adaptation was trained with."
            )
        model = inner
    if "type" not in model:
        raise ValueError(
            f"model.{part} is no config of a segmentor, it has the keys {sorted(model)}. Expected "
            "one with a type; add the name of one of them after a dot."
        )
    plain = {key: value for key, value in cfg.to_dict().items() if key not in _TRAINING}
    plain["model"] = copy.deepcopy(model.to_dict())
    plain.pop("data_preprocessor", None)
    # What the wrapper was given for all domains is what the segmentor was trained with.
    outer = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor")
    if outer is not None:
        inner = outer.get("default", outer)
        plain["model"].setdefault("data_preprocessor", copy.deepcopy(inner.to_dict()))
    pipeline = _inference_pipeline(plain)
    if pipeline is not None:
        plain["test_pipeline"] = pipeline
    return Config(plain)


def _inference_pipeline(plain: dict[str, Any]) -> list[dict] | None:
    """Return what images go through in tests, without labels: mmseg's ``inference_model`` asks."""
    for _, node in walk(plain.get("test_dataloader"), "test_dataloader"):
        if "pipeline" in node:
            names = [step["type"].rpartition(".")[2] for step in node["pipeline"]]
            return [
                copy.deepcopy(step)
                for step, name in zip(node["pipeline"], names, strict=True)
                if not name.startswith(("LoadAnnotations", "LoadLabel"))
            ]
    return None


def export_segmentor(
    cfg: Config, checkpoint: str | Path, folder: str | Path, *, part: str = "segmentor"
) -> tuple[Path, Path]:
    """Write the adapted segmentor as ``segmentor.py`` and ``segmentor.pth``.

    ``python .../mmseg/.mim/tools/test.py segmentor.py segmentor.pth`` tests it, where mmext is
    installed if the data set or a part of the network is mmext's.

    Args:
        cfg: Config of the adaptation.
        checkpoint: Checkpoint of it.
        folder: Folder to write; made if need be.
        part: As for :func:`segmentor_config`.

    Returns:
        The config and the checkpoint.

    Raises:
        ValueError: The checkpoint is not one of this model.
    """
    loaded = load_untrusted(checkpoint)
    state = loaded.get("state_dict", loaded)
    prefix = f"{part}."
    weights = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    plain = segmentor_config(cfg, part)
    _require_fit(plain, weights, checkpoint)
    meta: dict[str, Any] = loaded.get("meta", {})
    kept = {key: meta[key] for key in ("dataset_meta", "iter", "epoch", "seed") if key in meta}
    folder = Path(folder)
    written = folder / "segmentor.py", folder / "segmentor.pth"
    with replacing(written[0]) as config_file, replacing(written[1]) as weights_file:
        plain.dump(config_file)
        with weights_file.open("wb") as file:
            torch.save(dict(meta=kept, state_dict=weights), file)
    return written


def _require_fit(cfg: Config, weights: dict[str, torch.Tensor], checkpoint: str | Path) -> None:
    """Check names and shapes against the model."""
    # Not on torch's meta device: mmdet's EfficientNet reads numbers out of tensors when built.
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        expected = MODELS.build(cfg.model).state_dict()
    wrong = sorted(
        (expected.keys() ^ weights.keys())
        | {k for k in expected.keys() & weights.keys() if expected[k].shape != weights[k].shape}
    )
    if wrong:
        raise ValueError(
            f"{checkpoint} is not a checkpoint of this config: {len(wrong)} of "
            f"{len(expected)} tensors of the segmentor are missing, superfluous or of another "
            f"shape, such as {', '.join(wrong[:3])}. Use the config that it was trained with."
        )
