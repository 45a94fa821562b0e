"""The runner of mmext's tools: mmengine's, made complete on a CPU and careful with files."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed, master_only
from mmengine.hooks import CheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner as MMEngineRunner
from mmengine.runner.checkpoint import get_state_dict, weights_to_cpu
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mmext.checkpoints import install_safe_loading
from mmext.registry import RUNNERS

from .preflight import check_datasets, explain_unknown_type
from .resume import newest_checkpoint

_DDP = "MMDistributedDataParallel"


@RUNNERS.register_module()
class Runner(MMEngineRunner):
    """mmengine's runner with six differences.

    * The files and classes that ``cfg`` names are checked before anything is loaded
      (:mod:`mmext.engine.preflight`).
    * ``torchrun`` works without an accelerator: the process group is gloo, and DDP gets no device.
    * Checkpoints are read safely (:mod:`mmext.checkpoints.safe_load`); ``trust_checkpoint=True`` in
      the config is the user's choice to do otherwise.
    * Testing, validating or resuming with the checkpoint of another model is an error, not a
      warning followed by the figures of random weights.
    * Checkpoints are written to a temporary file and renamed, so that a run that is stopped while
      writing keeps the one before. They have the names of the plain model, also where several parts
      of it are wrapped for several processes.
    * A run that was killed at any moment can be resumed: two checkpoints are kept at least, and one
      is found also where ``last_checkpoint`` does not name it.
    """

    # True while a checkpoint must fit the model exactly; else it is a start for fine-tuning.
    _needs_exact_checkpoint = False

    @classmethod
    def from_cfg(cls, cfg: Any) -> "Runner":
        """Build a runner from ``cfg``.

        Args:
            cfg: A :class:`mmengine.Config`.

        Raises:
            mmext.engine.preflight.ConfigError: ``cfg`` names a type that nobody registered.
        """
        install_safe_loading(trust=cfg.get("trust_checkpoint", False))
        with explain_unknown_type(cfg):
            return super().from_cfg(cfg)

    def setup_env(self, env_cfg: dict) -> None:
        """Join the processes first where there is no accelerator, then as mmengine."""
        if get_device() == "cpu":
            join_processes(self.launcher, env_cfg)
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap ``model`` as mmengine does, but without a device index on a CPU.

        A model whose step has several backward passes names its wrapper itself, as the attribute
        ``model_wrapper_cfg``; the config has the last word.
        """
        if not is_model_wrapper(model):
            model_wrapper_cfg = model_wrapper_cfg or getattr(model, "model_wrapper_cfg", None)
        kind = MODEL_WRAPPERS.get((model_wrapper_cfg or {}).get("type", _DDP))
        ddp = kind is None or issubclass(kind, DistributedDataParallel)
        if self.distributed and get_device() == "cpu" and ddp and not is_model_wrapper(model):
            model_wrapper_cfg = {
                "type": _DDP,
                "device_ids": None,
                "broadcast_buffers": False,
                "find_unused_parameters": self.cfg.get("find_unused_parameters", False),
                **(model_wrapper_cfg or {}),
            }
        return super().wrap_model(model_wrapper_cfg, model)

    def train(self) -> nn.Module:
        """Check the training and validation data, then train."""
        check_datasets(self.cfg, ("train", "val"))
        with explain_unknown_type(self.cfg):
            return super().train()

    def val(self) -> dict:
        """Check the data and validate; the checkpoint has to fit the model exactly."""
        self._needs_exact_checkpoint = True
        check_datasets(self.cfg, ("val",))
        with explain_unknown_type(self.cfg):
            return super().val()

    def test(self) -> dict:
        """Check the data and test; the checkpoint has to fit the model exactly."""
        self._needs_exact_checkpoint = True
        check_datasets(self.cfg, ("test",))
        with explain_unknown_type(self.cfg):
            return super().test()

    def register_hooks(self, *args: Any, **kwargs: Any) -> None:
        """Register hooks, of which those that save keep two checkpoints at least.

        mmengine removes the oldest before it writes the newest: with one, a run that is killed
        between the two would have none.
        """
        super().register_hooks(*args, **kwargs)
        for hook in self.hooks:
            if isinstance(hook, CheckpointHook) and hook.max_keep_ckpts == 1:
                hook.max_keep_ckpts = 2
                self.logger.info(
                    "CheckpointHook: max_keep_ckpts=1 would leave nothing to resume from if the "
                    "run was killed while saving; two checkpoints are kept"
                )

    def load_or_resume(self) -> None:
        """Load or resume as mmengine does, with what :func:`newest_checkpoint` finds."""
        if self._resume and self._load_from is None and not self._has_loaded:
            self._load_from = newest_checkpoint(self.work_dir)
            if self._load_from is None:
                self.logger.info(f"no checkpoint in {self.work_dir}: the training begins anew")
                return
            self.logger.info(f"resuming from {self._load_from}")
        super().load_or_resume()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resume; the checkpoint has to fit the model exactly."""
        self._needs_exact_checkpoint = True
        super().resume(filename, *args, **kwargs)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = "cpu",
        strict: bool = False,
        revise_keys: list[tuple[str, str]] = [(r"^module.", "")],
    ) -> dict:
        """Load weights, and say so when the file belongs to another model.

        Args:
            filename: Local path or URL.
            map_location: As for :func:`torch.load`.
            strict: Whether every name and shape has to match; always so when testing or resuming.
            revise_keys: (pattern, replacement) pairs applied to the names in the file.

        Returns:
            The checkpoint.

        Raises:
            ValueError: The file does not fit: not exactly when testing or resuming, in not one
                tensor when it starts a training.
        """
        exact = strict or self._needs_exact_checkpoint
        model = self.model.module if is_model_wrapper(self.model) else self.model
        try:
            checkpoint = super().load_checkpoint(filename, map_location, exact, revise_keys)
        except RuntimeError as error:
            if "do not match exactly" not in str(error):
                raise
            raise ValueError(
                f"{filename} is not a checkpoint of this model ({type(model).__name__}). Use the "
                f"config that it was trained with. In detail: {error}"
            ) from error
        if not exact:
            self._require_some_overlap(filename, model, checkpoint)
        return checkpoint

    def _require_some_overlap(self, filename: str, model: nn.Module, checkpoint: dict) -> None:
        loaded = checkpoint.get("state_dict", checkpoint)
        loaded = {name.removeprefix("module."): value for name, value in loaded.items()}
        own = model.state_dict()
        fitting = [name for name in own if name in loaded and loaded[name].shape == own[name].shape]
        if not fitting:
            raise ValueError(
                f"{filename} shares no tensor with this model ({type(model).__name__}), so "
                f"load_from would change nothing: it has {_examples(loaded)}, the model "
                f"{_examples(own)}. Give a checkpoint of this model or remove load_from."
            )
        self.logger.info(f"{len(fitting)} of the model's {len(own)} tensors come from {filename}")

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call hooks; a checkpoint that they get has the names of the plain model.

        mmengine reads such names from a checkpoint, but writes ``part.module.weight`` for a part
        that ``MMSeparateDistributedDataParallel`` has wrapped.
        """
        if fn_name == "before_save_checkpoint" and is_model_wrapper(self.model):
            kwargs["checkpoint"]["state_dict"] = weights_to_cpu(get_state_dict(self.model))
        super().call_hook(fn_name, **kwargs)

    @master_only
    def save_checkpoint(
        self, out_dir: str, filename: str, file_client_args: dict | None = None, **kwargs: Any
    ) -> None:
        """Save a checkpoint under a temporary name and rename it when it is complete.

        Args:
            out_dir: Folder.
            filename: File name.
            file_client_args: As for :meth:`mmengine.runner.Runner.save_checkpoint`.
            **kwargs: Likewise. With ``backend_args`` (a remote store) the store's own rules hold.
        """
        if kwargs.get("backend_args") or file_client_args:
            super().save_checkpoint(out_dir, filename, file_client_args, **kwargs)
            return
        target = os.path.join(out_dir, filename)
        super().save_checkpoint(out_dir, filename + ".part", **kwargs)
        os.replace(target + ".part", target)


def join_processes(launcher: str, env_cfg: Mapping[str, Any]) -> None:
    """Start the process group if this is one of several processes; gloo without an accelerator.

    Args:
        launcher: As for :class:`mmengine.runner.Runner`; ``'none'``: a single process.
        env_cfg: ``cfg.env_cfg``.

    Raises:
        ValueError: The launcher cannot start processes without an accelerator.
    """
    if launcher == "none" or is_distributed():
        return
    options = dict(env_cfg.get("dist_cfg", {}))
    if get_device() != "cpu":
        init_dist(launcher, **options)
        return
    if launcher != "pytorch":
        raise ValueError(
            f"--launcher {launcher} needs an accelerator. On CPUs start the processes "
            "with torchrun (tools/dist_train.sh) and --launcher pytorch."
        )
    distributed.init_process_group("gloo", timeout=timedelta(seconds=options.get("timeout", 1800)))


def _examples(state_dict: dict[str, torch.Tensor]) -> str:
    names = ", ".join(list(state_dict)[:3])
    return f"{len(state_dict)} tensors ({names}, ...)"
