"""Several processes for models whose training step has several backward passes."""

from typing import Any

import torch
from mmengine.dist import broadcast
from mmengine.optim import OptimWrapperDict
from torch import nn

from mmext.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class AveragedDataParallel(nn.Module):
    """The same model in each process; the model's own step averages gradients before it updates.

    DistributedDataParallel expects one backward pass through all parameters for each call of
    ``forward``. An adversarial step freezes a part, passes backward through another several times
    and leaves heads out of some of them. Here :class:`mmext.engine.IterationPasses` averages what
    has come together, once for each update.

    mmext's runner wraps models that need it by themselves; for mmseg's tools write
    ``model_wrapper_cfg = dict(type='mmext.AveragedDataParallel')`` into the config.

    Args:
        module: The model; its parameters and buffers are those of the first process.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                broadcast(tensor.data, 0)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model."""
        return self.module(*args, **kwargs)

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> dict[str, torch.Tensor]:
        """Let the model learn from the batch of this process."""
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: dict) -> list:
        """Let the model predict."""
        return self.module.val_step(data)

    def test_step(self, data: dict) -> list:
        """Let the model predict."""
        return self.module.test_step(data)
