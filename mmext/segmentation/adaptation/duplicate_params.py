"""An oddity of the official code, for those who want to reproduce it."""

import warnings

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from mmext.registry import OPTIM_WRAPPER_CONSTRUCTORS


def duplicated_parameters(backbone: nn.Module) -> list[nn.Parameter]:
    """Return a backbone's trainable parameters as often as the official code lists them.

    That code walks through all modules below each stage and takes all parameters below each of
    them, so that a parameter is listed once for every module above it: most convolutions of a
    ResNet three times, those of its shortcuts four times, the first convolution once.

    Args:
        backbone: The backbone.
    """
    return [
        parameter
        for stage in backbone.children()
        for module in stage.modules()
        for parameter in module.parameters()
        if parameter.requires_grad
    ]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DuplicateParamsConstructor:
    """Updates the backbone's parameters as often as the official code of AdaptSegNet and BDL.

    Its generator of parameters yields most of them three times (:func:`duplicated_parameters`), and
    SGD updates each entry of its list. So the published figures were trained with a backbone
    learning rate of three times the published one, and with a momentum that is updated three times.
    Without this constructor, ``paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=3)))`` is
    the clean approximation. torch announces that it will refuse such lists one day.

    Use it as ``optim_wrapper.segmentor.constructor``, with SGD.

    Args:
        optim_wrapper_cfg: Config of the wrapper; ``head_lr_mult`` (10) is the factor on the
            learning rate of everything but the backbone.
        paramwise_cfg: Must be None.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        config = dict(optim_wrapper_cfg)
        kind = config.setdefault("type", "OptimWrapper")
        if paramwise_cfg is not None or kind != "OptimWrapper":
            raise ValueError(
                f"DuplicateParamsConstructor: type is {kind!r}, paramwise_cfg {paramwise_cfg}. "
                "Expected an OptimWrapper without paramwise_cfg: mixed precision would scale "
                "gradients back once for each entry."
            )
        self.head_lr_mult = config.pop("head_lr_mult", 10)
        self.optimizer = dict(config.pop("optimizer"))
        self.wrapper = config

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper of a segmentor's parameters.

        Args:
            model: A segmentor with a ``backbone``.
        """
        model = getattr(model, "module", model)
        backbone = duplicated_parameters(model.backbone)
        inside = {id(parameter) for parameter in model.backbone.parameters()}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in inside]
        learning_rate = self.optimizer["lr"]
        groups = [
            dict(params=backbone, lr=learning_rate),
            dict(params=others, lr=learning_rate * self.head_lr_mult),
        ]
        # Updates of duplicates depend on their order, which only the loop over entries keeps.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*duplicate parameters.*")
            optimizer = OPTIMIZERS.build({**self.optimizer, "params": groups, "foreach": False})
        entries, unique = len(backbone), len({id(parameter) for parameter in backbone})
        print_log(
            f"DuplicateParamsConstructor: {entries} entries for {unique} parameters of the "
            "backbone, as in the official code",
            logger="current",
        )
        return OPTIM_WRAPPERS.build({**self.wrapper, "optimizer": optimizer})
