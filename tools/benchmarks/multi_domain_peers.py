"""Adapt a small segmentor to several targets or from several sources by every method, in one table.

All methods share network, data, optimiser and iterations of each training; BDL's self-training and
dual-level mixing have several trainings. Those that know one source or one target take several as
if they were one. With several targets `separate experts` is an adversarial training for each, whose
rows are put together; with several sources `only-NAME` learns from one of them. Of multi-source
models each is tested alone, too.

    python tools/dataset_converters/streets.py
    python tools/benchmarks/multi_domain_peers.py --data streets_day_fog --seeds 0 1 2

What is finished stays in ``--out``, where ``<data>.md`` and ``<data>.csv`` are written. An
interrupted benchmark goes on where it stopped, also in the middle of a schedule.
"""

import copy
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from run_queue import ROOT, read_results, runs_parser, set_up, train, train_runs, write_json

FEW = 20
"""How many labelled images of each target semi-supervised methods get."""


@dataclass(frozen=True)
class Method:
    """How a row is trained.

    Attributes:
        config: Config below ``configs``, without the suffix of small ones.
        changes: What is changed in it.
        colours: Whether images of the sources get the target's colours.
        few: Whether it gets labelled images of the targets.
        oracle: Whether it gets all their labels.
    """

    config: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    colours: bool = False
    few: bool = False
    oracle: bool = False


MULTI_TARGET = "multi_target/ccl_efflite0_streets-day-fog"
MULTI_SOURCE = "multi_source/multi-source_efflite0_streets"
BASELINES = {
    "source-only": Method("bdl/source-only_efflite0_streets"),
    "adversarial": Method("bdl/adversarial_efflite0_streets"),
    "entropy": Method("adaptation_baselines/entropy_efflite0_streets"),
    "self-training": Method("bdl/self-training_efflite0_streets"),
    "classmix": Method("adaptation_baselines/classmix_efflite0_streets"),
    "few-labels": Method("adaptation_baselines/few-labels_efflite0_streets", few=True),
    "dual-level": Method("adaptation_baselines/dual-level_efflite0_streets", few=True),
    "oracle": Method("bdl/oracle_efflite0_streets", oracle=True),
}
TO_SEVERAL = {
    "multi-target": Method(MULTI_TARGET),
    "multi-target-consistency": Method(MULTI_TARGET, {"model.lambda_consistency": 0.1}),
    "multi-target-no-weights": Method(MULTI_TARGET, {"model.lambda_weights": 0.0}),
    "multi-target-no-bridge": Method(MULTI_TARGET, {"model.bridge": None}),
    "multi-target-no-adversarial": Method(MULTI_TARGET, {"model.discriminator": None}),
    "multi-target-shared": Method(MULTI_TARGET, {"model.experts": "shared_backbone"}),
}
FROM_SEVERAL = {
    "source-only-colours": Method("bdl/source-only_efflite0_streets", colours=True),
    "multi-source": Method(MULTI_SOURCE, colours=True),
    "multi-source-no-colours": Method(MULTI_SOURCE),
    "multi-source-no-col": Method(MULTI_SOURCE, {"model.lambda_col": 0.0}, colours=True),
    "multi-source-no-target": Method(MULTI_SOURCE, {"model.lambda_target": 0.0}, colours=True),
    "multi-source-mutual": Method(MULTI_SOURCE, {"model.teacher": "mutual"}, colours=True),
    "multi-source-shared": Method(
        MULTI_SOURCE, {"model.segmentor.share_backbone": True}, colours=True
    ),
}
DATA = (
    *("streets_day_fog", "streets_day_fog_night", "streets_two_sources"),
    *("camvid_idd", "camvid_two_sources"),
)


def load_domains(data: str) -> Config:
    """Return the domains of one of ``DATA``: ``sources``, ``targets``, ``tested`` and more."""
    return Config.fromfile(Path(__file__).resolve().parent / "configs" / f"multi_domain_{data}.py")


def methods_of(data: str) -> dict[str, Method]:
    """Return the rows of the table of one of ``DATA``."""
    domains = load_domains(data)
    own = {f"expert-{name}": BASELINES["adversarial"] for name in domains.targets}
    own |= TO_SEVERAL
    if len(domains.sources) > 1:
        own = {f"only-{name}": BASELINES["source-only"] for name in domains.sources}
        own |= FROM_SEVERAL
    return {**BASELINES, **own}


def load_config(name: str, data: str, seed: int, work_dir: Path) -> Config:
    """Return the config of one run.

    Args:
        name: A key of :func:`methods_of`.
        data: One of ``DATA``.
        seed: Seed of initialisation, order and augmentation.
        work_dir: Folder for logs and checkpoints.
    """
    import mmext  # noqa: F401  (lets the config's bases be found)

    method, domains = methods_of(data)[name], load_domains(data)
    cfg = Config.fromfile(ROOT / "configs" / f"{method.config}.py")
    kind, _, chosen = name.partition("-")
    if kind == "only":
        domains.sources = {chosen: domains.sources[chosen]}
    if kind == "expert":
        domains.targets = {chosen: domains.targets[chosen]}
    show_domains(cfg, domains, method)
    fit_model(cfg, domains)
    cfg.merge_from_dict(dict(method.changes))
    if cfg.model.get("discriminator") is None:
        cfg.optim_wrapper.pop("discriminators", None)
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=seed)
    cfg.launcher = "none"
    return cfg


def show_domains(cfg: Config, domains: Config, method: Method) -> None:
    """Put other domains into a config.

    Args:
        cfg: The config; changed.
        domains: With ``sources``, ``targets``, ``tested``, ``resize`` (transforms) and
            ``reference`` (the folder of colours).
        method: Who gets which labels.
    """
    load, labels = dict(type="LoadImageFromFile"), dict(type="mmext.LoadLabelIds")
    end = [dict(type="RandomFlip", prob=0.5), dict(type="PackSegInputs")]
    colours = dict(type="mmext.LABStatTransfer", reference=domains.get("reference"))
    shown = [colours] if method.colours else []
    labelled = [load, *shown, labels, *domains.resize, *end]
    target_labelled = [load, labels, *domains.resize, *end]
    unlabelled = [load, *domains.resize, *end]

    dataset = cfg.train_dataloader.dataset
    sources = _with_pipeline(domains.sources, labelled)
    targets = _with_pipeline(domains.targets, target_labelled)
    if method.few:
        few = [dict(config, indices=FEW) for config in targets.values()]
        sources = dict(source=_joined(list(sources.values())), few=_joined(few))
    dataset.sources = targets if method.oracle else sources
    dataset.targets = _with_pipeline(domains.targets, unlabelled) if dataset.targets else {}
    tested = _with_pipeline(domains.tested, [load, *domains.resize, labels, end[-1]])
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset = dict(type="mmext.DomainConcatDataset", datasets=copy.deepcopy(tested))


def _with_pipeline(configs: Mapping[str, dict], pipeline: list[dict]) -> dict[str, dict]:
    return {name: dict(config, pipeline=pipeline) for name, config in configs.items()}


def _joined(configs: list[dict]) -> dict:
    return configs[0] if len(configs) == 1 else dict(type="ConcatDataset", datasets=configs)


def fit_model(cfg: Config, domains: Config) -> None:
    """Give a config's model the names of the domains and the number of classes."""
    from mmext.engine.preflight import walk

    model = cfg.model
    if model.type == "mmext.MultiSourceAdaptation":
        network = next(iter(model.segmentor.members.values()))
        model.segmentor.members = {name: copy.deepcopy(network) for name in domains.sources}
    if model.type == "mmext.MultiTargetAdaptation":
        model.targets = list(domains.targets)
    for _, node in walk(model, "model"):
        if "num_classes" in node:
            node["num_classes"] = domains.num_classes


def run_one(name: str, data: str, seed: int, folder: Path, threads: int) -> None:
    """Train and test once in this process; write ``result.json`` when all of it is done."""
    set_up(threads, "mmseg")
    from mmext.engine import Runner

    cfg = load_config(name, data, seed, folder)
    minutes = train(cfg)
    rows = {name: Runner.from_cfg(copy.deepcopy(cfg)).test()}
    if cfg.model.type == "mmext.MultiSourceAdaptation":
        for member in cfg.model.segmentor.members:
            cfg.model.segmentor.test = member
            cfg.experiment_name = f"{folder.name}-{member}"
            rows[f"{name}, model of {member}"] = Runner.from_cfg(copy.deepcopy(cfg)).test()
    result = dict(method=name, data=data, seed=seed, minutes=minutes, rows=rows)
    write_json(folder / "result.json", result)


def rows_of(results: list[dict]) -> dict[str, list[dict[str, float]]]:
    """Return the figures of each domain by row, a dict for each seed.

    Args:
        results: Runs on the same domains.
    """
    from mmext.segmentation.domain_tables import MEAN, domain_figures

    rows: dict[str, list[dict[str, float]]] = {}
    experts: dict[int, dict[str, float]] = {}
    for result in results:
        for name, figures in result["rows"].items():
            kind, _, chosen = name.partition("-")
            found = domain_figures(figures)
            if kind == "expert":
                experts.setdefault(result["seed"], {})[chosen] = found[chosen]
            else:
                rows.setdefault(name, []).append(found)
    if experts:
        whole = [e for e in experts.values() if len(e) == max(map(len, experts.values()))]
        rows["separate experts"] = [{**e, MEAN: sum(e.values()) / len(e)} for e in whole]
    return rows


def main() -> None:
    """Run the benchmark, or (``--run``) one of its runs."""
    args = runs_parser(__doc__, data=DATA).parse_args()
    runs = []
    for data in args.data:
        known = methods_of(data)
        unknown = [name for name in args.methods or () if name not in known]
        if unknown:
            sys.exit(f"error: --methods has {unknown}. Expected, for {data}, {list(known)}.")
        runs += [(n, data, s) for s in args.seeds for n in args.methods or known]
    folders = train_runs(__file__, args, runs, run_one)

    from mmext.segmentation.domain_tables import markdown_table, write_domain_table

    for data in args.data:
        table = rows_of(read_results(folders, data))
        for suffix in (".md", ".csv"):
            write_domain_table(next(iter(folders.values())).parent / f"{data}{suffix}", table)
        print(f"\n{data}\n\n{markdown_table(table)}", flush=True)


if __name__ == "__main__":
    main()
