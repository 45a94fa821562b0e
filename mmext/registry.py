"""The child registries of mmext: ``type='mmext.X'`` resolves here from every mm scope.

``locations`` are imported on the first look-up, so a config needs no ``custom_imports``.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TASK_UTILS as MMENGINE_TASK_UTILS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import Registry

RESTORATION_BENCHMARKS = [
    "mmext.leaderboards.dnd",
    "mmext.leaderboards.realblur",
    "mmext.leaderboards.sidd",
]

MODELS = Registry(
    "model",
    parent=MMENGINE_MODELS,
    scope="mmext",
    locations=[
        "mmext.ops",
        "mmext.active_learning",
        "mmext.detection",
        "mmext.detection3d",
        "mmext.rotated",
        "mmext.restoration",
        "mmext.segmentation",
    ],
)
MODEL_WRAPPERS = Registry(
    "model_wrapper", parent=MMENGINE_MODEL_WRAPPERS, scope="mmext", locations=["mmext.engine"]
)
TASK_UTILS = Registry(
    "task util",
    parent=MMENGINE_TASK_UTILS,
    scope="mmext",
    locations=["mmext.detection", "mmext.detection3d"],
)
OPTIM_WRAPPERS = Registry(
    "optimizer wrapper", parent=MMENGINE_OPTIM_WRAPPERS, scope="mmext", locations=["mmext.engine"]
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optimizer wrapper constructor",
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope="mmext",
    locations=["mmext.engine", "mmext.segmentation"],
)
RUNNERS = Registry("runner", parent=MMENGINE_RUNNERS, scope="mmext", locations=["mmext.engine"])
LOOPS = Registry("loop", parent=MMENGINE_LOOPS, scope="mmext", locations=["mmext.active_learning"])
HOOKS = Registry(
    "hook",
    parent=MMENGINE_HOOKS,
    scope="mmext",
    locations=["mmext.detection3d", "mmext.engine", "mmext.restoration"],
)
DATASETS = Registry(
    "dataset",
    parent=MMENGINE_DATASETS,
    scope="mmext",
    locations=[
        "mmext.detection",
        "mmext.detection3d",
        "mmext.restoration",
        "mmext.segmentation",
        *RESTORATION_BENCHMARKS,
    ],
)
DATA_SAMPLERS = Registry(
    "data sampler",
    parent=MMENGINE_DATA_SAMPLERS,
    scope="mmext",
    locations=["mmext.segmentation"],
)
TRANSFORMS = Registry(
    "transform",
    parent=MMENGINE_TRANSFORMS,
    scope="mmext",
    locations=[
        "mmext.detection",
        "mmext.detection3d",
        "mmext.restoration",
        "mmext.segmentation",
    ],
)
METRICS = Registry(
    "metric",
    parent=MMENGINE_METRICS,
    scope="mmext",
    locations=[
        "mmext.detection",
        "mmext.detection3d",
        "mmext.rotated",
        "mmext.restoration",
        "mmext.segmentation",
        "mmext.leaderboards.cityscapes",
        *RESTORATION_BENCHMARKS,
    ],
)
VISUALIZERS = Registry(
    "visualizer",
    parent=MMENGINE_VISUALIZERS,
    scope="mmext",
    locations=["mmext.detection3d", "mmext.restoration"],
)

# Checks of the files behind a data set, keyed by the class name of the data set (see
# mmext.engine.preflight); a check of a class also serves its subclasses.
DATASET_CHECKS = Registry(
    "dataset check",
    scope="mmext",
    locations=[
        "mmext.detection",
        "mmext.detection3d",
        "mmext.rotated",
        "mmext.restoration",
        "mmext.segmentation",
    ],
)

# Trainings in stages that build on each other, started by tools/train.py for configs that have a
# ``schedule``.
SCHEDULES = Registry("schedule", scope="mmext", locations=["mmext.segmentation"])

# How a campaign of active learning chooses the images to label next.
ACQUISITIONS = Registry("acquisition", scope="mmext", locations=["mmext.active_learning"])
