"""What the tests share that train on tree crowns: a short schedule."""

from pathlib import Path

from mmengine.config import Config

CONFIGS = Path(__file__).parents[1] / "configs"


def short_schedule(cfg: Config, iterations: int, data: Path, work_dir: Path) -> None:
    """Shrink the schedule, do not validate in it, and read and write in the given folders."""
    scale = iterations / cfg.train_cfg.max_iters
    for scheduler in cfg.param_scheduler:
        for key in {"begin", "end", "T_max"} & scheduler.keys():
            scheduler[key] = round(scheduler[key] * scale)
    cfg.train_cfg.update(max_iters=iterations, val_begin=iterations + 1)
    cfg.work_dir = str(work_dir)
    cfg.custom_hooks = []
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(data)
    cfg.val_evaluator.ann_file = str(data / "annotations" / "validation.json")
