"""A head with stages for tests: it learns from unlabelled images, too, and remembers all it saw."""

import torch
from mmdet.models import FCOSHead
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS


@MODELS.register_module(force=True)
class StagedFCOSHead(FCOSHead):
    """FCOS's head; on unlabelled images its scores are to be small, by a random weight."""

    def __init__(self, *args, noise: float = 0.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.noise = noise
        self.stages: list[str] = []
        self.seen: list[tuple[str, bool, int]] = []

    def set_stage(self, stage: str) -> None:
        self.stages.append(stage)

    def loss(self, x, batch_data_samples):
        labeled = {sample.labeled for sample in batch_data_samples}
        assert len(labeled) == 1
        boxes = sum(len(sample.gt_instances) for sample in batch_data_samples)
        self.seen.append((self.stages[-1], labeled == {True}, boxes))
        if labeled == {True}:
            return super().loss(x, batch_data_samples)
        scores = [level.sigmoid().mean() for level in self(x)[0]]
        weight = 1 + self.noise * torch.rand(())
        return dict(loss_unlabeled=torch.stack(scores).mean() * weight)

    def image_scores(self, feats, *, topk, power, use_mil_weight):
        """Stand in for MI-AOD's head: how far two halves of the scores are apart."""
        scores = torch.cat([level.sigmoid().flatten(1) for level in self(feats)[0]], 1)
        return (scores[:, ::2] - scores[:, 1::2]).abs().pow(power).topk(topk, 1).values.mean(1)


@HOOKS.register_module(force=True)
class StopAt(Hook):
    """Ends the process's training before an iteration, as a kill would."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == self.iteration:
            raise KeyboardInterrupt
