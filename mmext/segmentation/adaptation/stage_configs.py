"""The config of a schedule's base, turned into that of each of its trainings."""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope

_RESULTS = ("schedule", "load_from", "resume", "work_dir")


def changed(cfg: Config, changes: Mapping[str, Any]) -> Config:
    """Return a config with changes merged into it, as a file merges into its ``_base_``.

    Args:
        cfg: The config of the whole schedule.
        changes: Keys and values; ``_delete_=True`` in a dict takes it in the place of the old one.
    """
    plain = {key: value for key, value in cfg.to_dict().items() if key not in _RESULTS}
    derived = Config(copy.deepcopy(plain))
    derived.setdefault("runner_type", "mmext.Runner")
    derived.merge_from_dict(copy.deepcopy(ConfigDict(changes).to_dict()))
    # So that a training that was stopped goes on with the same random numbers.
    hooks = list(derived.get("custom_hooks") or [])
    derived.custom_hooks = [*hooks, dict(type="mmext.IterationSeedHook")]
    return derived


def domain_names(cfg: Config) -> tuple[str, str]:
    """Return the names of the source and of the target.

    Args:
        cfg: The config of the whole schedule.

    Raises:
        ValueError: There is not one of each.
    """
    dataset = cfg.train_dataloader.dataset
    sources, targets = (list(dataset.get(role, {})) for role in ("sources", "targets"))
    if len(sources) != 1 or len(targets) != 1:
        raise ValueError(
            f"train_dataloader.dataset has the sources {sources} and the targets {targets}. A "
            "mmext.BDLSchedule with a translator expects a mmext.MultiDomainDataset with one of "
            "each."
        )
    return sources[0], targets[0]


def translator_stage_config(
    cfg: Config,
    changes: Mapping[str, Any],
    pipeline: Sequence[dict],
    segmentor: Path | None,
) -> Config:
    """Return the config that trains a translator.

    Args:
        cfg: The config of the whole schedule.
        changes: What is changed in it; ``model`` is an ``mmext.ImageTranslator``.
        pipeline: What images of both domains go through.
        segmentor: Checkpoint of the adapted model whose segmentation translations are to keep.
            None: train without the semantic term.

    Raises:
        ValueError: ``model`` is another one.
    """
    derived = changed(cfg, changes)
    if derived.model.type != "mmext.ImageTranslator":
        raise ValueError(
            f"schedule.translator.model.type is {derived.model.type!r}. Expected "
            "model=dict(_delete_=True, type='mmext.ImageTranslator', ...)."
        )
    source, target = domain_names(derived)
    derived.model.domains = (source, target)
    # Or the runner would give it that of the segmentor, if the config has one at its top.
    derived.model.setdefault("data_preprocessor", dict(type="mmext.TranslationDataPreprocessor"))
    dataset = derived.train_dataloader.dataset
    for domain in (dataset.sources[source], dataset.targets[target]):
        domain.pipeline = copy.deepcopy(list(pipeline))
    if segmentor is None:
        derived.model.semantic = None
    elif derived.model.get("semantic") is not None:
        network = copy.deepcopy(cfg.model.segmentor)
        network.init_cfg = dict(type="Pretrained", checkpoint=str(segmentor), prefix="segmentor")
        derived.model.semantic.segmentor = network
    for split in ("val", "test"):
        for part in ("dataloader", "evaluator", "cfg"):
            derived[f"{split}_{part}"] = None
    return derived


def segmentor_stage_config(
    cfg: Config, changes: Mapping[str, Any], translated: Path | None, labels: Path | None
) -> Config:
    """Return the config that trains a segmentor.

    Args:
        cfg: The config of the whole schedule.
        changes: What is changed in it.
        translated: Folder of the translated images of the source; None: the originals.
        labels: Folder with the pseudo labels of each target; None: without.
    """
    derived = changed(cfg, changes)
    dataset = derived.train_dataloader.dataset
    if translated is not None:
        source, _ = domain_names(derived)
        _show_translated(dataset.sources[source], translated, derived.get("default_scope"))
    if labels is not None:
        for target, images in dataset.targets.items():
            dataset.targets[target] = pseudo_labelled(images, labels / target)
    return derived


def pseudo_labelled(images: Mapping[str, Any], labels: Path) -> dict[str, Any]:
    """Return the config of a target with pseudo labels.

    Args:
        images: Config of its data set.
        labels: Folder of the labels.
    """
    loaded = {**images, "pipeline": with_label_loader(images["pipeline"])}
    return dict(type="mmext.PseudoLabelDataset", dataset=loaded, label_dir=str(labels))


def with_label_loader(pipeline: Sequence[dict]) -> list[dict]:
    """Return a target's pipeline with ``LoadLabelIds`` behind what loads the image.

    Args:
        pipeline: Configs of transforms, the first of which loads the image.

    Raises:
        ValueError: The first one does something else.
    """
    first, *others = pipeline
    if "LoadImage" not in first["type"]:
        raise ValueError(
            f"the target's pipeline begins with {first['type']!r}. Expected what loads the image, "
            "such as LoadImageFromFile: labels are loaded behind it."
        )
    return [first, dict(type="mmext.LoadLabelIds"), *others]


def _show_translated(source: ConfigDict, folder: Path, scope: str | None) -> None:
    """Put translated images in the place of a source's; its labels stay."""
    with DefaultScope.overwrite_default_scope(scope):
        known = DATASETS.build({**source, "pipeline": [], "lazy_init": True})
    source.data_prefix = {
        **{key: os.path.abspath(path) for key, path in known.data_prefix.items()},
        "img_path": str(folder.resolve()),
    }
    suffixes = getattr(known, "img_suffixes", (known.img_suffix,))
    written = dict.fromkeys(f"{suffix.rpartition('.')[0]}.png" for suffix in suffixes)
    source.img_suffix = next(iter(written)) if len(written) == 1 else tuple(written)
