"""Finding out before training starts what would stop it later, and saying how to mend it."""

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, OPTIMIZERS, DefaultScope
from mmengine.registry import root as mmengine_registries

from mmext.registry import DATASET_CHECKS


class ConfigError(ValueError):
    """A config names something that cannot work; the message says where and what to do."""


def walk(node: Any, path: str) -> Iterator[tuple[str, dict]]:
    """Yield every dict below ``node`` with its config key.

    Args:
        node: A config value: dicts and lists are descended into.
        path: The config key of ``node``, such as ``'model'``.

    Yields:
        The key (``'model.bbox_head'``, ``'train_pipeline[2]'``) and the dict there.
    """
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from walk(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from walk(value, f"{path}[{index}]")


def check_datasets(cfg: Config, splits: Sequence[str]) -> None:
    """Run the registered checks on the data sets of a config.

    Args:
        cfg: The whole config.
        splits: Which loaders will be used: ``'train'``, ``'val'``, ``'test'``.

    Raises:
        ConfigError: The first fault found.
    """
    scope = cfg.get("default_scope", "mmengine")
    with DefaultScope.overwrite_default_scope(scope):
        for split in splits:
            loader = cfg.get(f"{split}_dataloader")
            if not isinstance(loader, dict):
                continue
            for path, node in walk(loader.get("dataset"), f"{split}_dataloader.dataset"):
                dataset_class = _dataset_class(node, scope)
                for base in dataset_class.__mro__ if dataset_class else ():
                    check = DATASET_CHECKS.get(base.__name__)
                    if check is not None:
                        check(cfg=cfg, dataset_cfg=node, dataset_class=dataset_class, path=path)
                        break


def _dataset_class(node: dict, scope: str) -> type | None:
    """Return the class that a config dict builds, if it is a data set's."""
    kind = node.get("type")
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    return kind if isinstance(kind, type) else None


@contextmanager
def explain_unknown_type(cfg: Config) -> Iterator[None]:
    """Turn mmengine's KeyError about an unknown ``type`` into one that names the config key.

    Args:
        cfg: The whole config, searched for the key.

    Raises:
        ConfigError: Instead of the KeyError, with the nearest registered names.
    """
    try:
        _check_optimizer(cfg)
        yield
    except KeyError as error:
        found = re.search(r"([\w.]+) is not in the (?:[\w-]+::)?([\w ]+) registry", str(error))
        if found is None:
            raise
        name, registry_name = found.groups()
        keys = [path for path, node in walk(cfg.to_dict(), "") if node.get("type") == name]
        # Suggest in the form that was written, with a scope or without.
        known = [other for other in _known_names(registry_name) if ("." in other) == ("." in name)]
        near = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ConfigError(
            f"{' and '.join(keys) or 'the config'}: type {name!r} is not registered as a "
            f"{registry_name}.{hint} Check the spelling and the scope (mmext's own parts are "
            "written 'mmext.Name'), or add the module that registers it to custom_imports."
        ) from error


def _check_optimizer(cfg: Config) -> None:
    """Raise the KeyError that mmengine forgets for optimisers: it calls None there."""
    for path, node in walk(cfg.get("optim_wrapper"), "optim_wrapper"):
        kind = node.get("type")
        if path.endswith("optimizer") and isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
            raise KeyError(f"{kind} is not in the mmengine::optimizer registry")


def _known_names(registry_name: str) -> list[str]:
    """Return every name in the root registry ``registry_name`` and its children."""
    for registry in vars(mmengine_registries).values():
        if getattr(registry, "name", None) == registry_name:
            pending, names = [registry], []
            while pending:
                current = pending.pop()
                scope = "" if current.parent is None else f"{current.scope}."
                names += [scope + name for name in current.module_dict]
                names += list(current.module_dict) if scope else []
                pending += list(current.children.values())
            return names
    return []
