"""Mixed precision where there is no accelerator."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmext.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Optimiser wrapper that runs the forward pass under bfloat16 autocast on a CPU.

    mmengine's ``AmpOptimWrapper`` refuses CPUs. bfloat16 has the exponent range of float32, so no
    loss scaling is needed, and weights, gradients and optimiser state stay in float32. It pays on
    processors with AMX or AVX-512 BF16 and is slower than float32 elsewhere.

    Args:
        **kwargs: As for :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter gradient accumulation and autocast for one forward pass of ``model``."""
        with super().optim_context(model), torch.autocast("cpu", dtype=torch.bfloat16):
            yield
