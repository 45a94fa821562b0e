"""Small data sets of indoor scenes in every form that is read."""

import pickle
from pathlib import Path

import numpy as np

BOXES = np.array([[1.0, 0, 0.5, 1.0, 0.6, 1.0, 0.4], [-1.0, 1.0, 0.25, 2.0, 1.0, 0.5, -1.2]])
"""A chair and a bed."""
ANGLE = 0.5
MATRIX = np.array(
    [
        [np.cos(ANGLE), -np.sin(ANGLE), 0, 0.3],
        [np.sin(ANGLE), np.cos(ANGLE), 0, -0.2],
        [0, 0, 1, 0.1],
        [0, 0, 0, 1],
    ]
)


def cloud(boxes: np.ndarray = BOXES, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 6) float32 points and colours, ``count`` in each box and on the floor, and owners.

    Each box has points at two opposite corners, so that their extent is that of an unturned box.
    """
    rng = np.random.default_rng(0)
    parts, owners = [], []
    for index, box in enumerate(boxes):
        local = rng.uniform(-0.5, 0.5, (count, 3))
        local[:2] = [[0.5, 0.5, 0.5], [-0.5, -0.5, -0.5]]
        local = local * box[3:6] * 0.999
        cos, sin = np.cos(box[6]), np.sin(box[6])
        x, y = cos * local[:, 0] - sin * local[:, 1], sin * local[:, 0] + cos * local[:, 1]
        parts.append(np.stack((x, y, local[:, 2]), axis=1) + box[:3])
        owners.append(np.full(count, index))
    floor = rng.uniform(-3, 3, (count, 3)) * (1, 1, 0) - (0, 0, 0.05)
    points = np.concatenate((*parts, floor))
    colors = rng.integers(0, 256, points.shape)
    owner = np.concatenate((*owners, np.full(count, -1)))
    return np.concatenate((points, colors), axis=1).astype(np.float32), owner


def write_version1(root: Path) -> Path:
    """Write an info file as mmdet3d before 1.1 did, of a scene with boxes and one without."""
    for folder in ("points", "instance_mask", "semantic_mask"):
        (root / folder).mkdir(parents=True)
    aligned = BOXES * (1, 1, 1, 1, 1, 1, 0)
    points, owner = cloud(aligned)
    moved = points.copy()  # into the frame before the alignment
    moved[:, :3] = (points[:, :3] - MATRIX[:3, 3]) @ MATRIX[:3, :3]
    infos = []
    for name, boxes in (("scene0000_00", aligned), ("scene0001_00", aligned[:0])):
        moved.astype(np.float32).tofile(root / "points" / f"{name}.bin")
        (owner + 1).astype(np.int64).tofile(root / "instance_mask" / f"{name}.bin")
        nyu40 = np.array([5, 4, 1])[owner]  # chair, bed, wall
        nyu40.astype(np.int64).tofile(root / "semantic_mask" / f"{name}.bin")
        annos = dict(gt_num=len(boxes), axis_align_matrix=MATRIX)
        if len(boxes):
            annos.update(
                name=np.array(["chair", "bed"]),
                gt_boxes_upright_depth=boxes[:, :6],
                **{"class": np.array([2, 1])},
            )
        infos.append(
            dict(
                point_cloud=dict(num_features=6, lidar_idx=name),
                pts_path=f"points/{name}.bin",
                pts_instance_mask_path=f"instance_mask/{name}.bin",
                pts_semantic_mask_path=f"semantic_mask/{name}.bin",
                annos=annos,
            )
        )
    path = root / "scannet_infos.pkl"
    path.write_bytes(pickle.dumps(infos))
    return path


def write_version2(root: Path, boxes: np.ndarray = BOXES, **changes: object) -> Path:
    """Write an info file of version 2 with oriented boxes and a scene that has none."""
    (root / "points").mkdir(parents=True)
    points, _ = cloud(boxes)
    entries = []
    for name, found in (("000001", boxes), ("000002", boxes[:0])):
        np.save(root / "points" / f"{name}.npy", points)
        instances = [
            dict(bbox_3d=box.tolist(), bbox_label_3d=label)
            for box, label in zip(found, (3, 0, 3, 0), strict=False)
        ]
        instances.append(dict(bbox_3d=[0.0] * 7, bbox_label_3d=-1))  # of none of the classes
        entries.append(
            dict(lidar_points=dict(num_pts_feats=6, lidar_path=f"{name}.npy"), instances=instances)
        )
    entries[0].update(changes)
    names = ("bed", "table", "sofa", "chair", "toilet", "desk", "dresser", "night_stand")
    names += ("bookshelf", "bathtub")
    categories = {name: number for number, name in enumerate(names)}
    metainfo = dict(categories=categories, dataset="sunrgbd", info_version="1.1")
    path = root / "sunrgbd_infos.pkl"
    path.write_bytes(pickle.dumps(dict(metainfo=metainfo, data_list=entries)))
    return path


def write_votenet_scannet(folder: Path) -> None:
    """Write a scene of ScanNet as VoteNet's preparation does."""
    folder.mkdir(parents=True)
    aligned = BOXES * (1, 1, 1, 1, 1, 1, 0)
    points, owner = cloud(aligned)
    rows = np.concatenate((aligned[:, :6], [[5], [4]]), axis=1)
    other = np.array([[0, 0, 0, 1, 1, 1, 38]])  # no class of the 18
    np.save(folder / "scene0000_00_vert.npy", points)
    np.save(folder / "scene0000_00_ins_label.npy", owner + 1)
    np.save(folder / "scene0000_00_sem_label.npy", np.array([5, 4, 1])[owner])
    np.save(folder / "scene0000_00_bbox.npy", np.concatenate((rows, other)))


def write_votenet_sunrgbd(folder: Path) -> None:
    """Write a scene of SUN RGB-D as VoteNet's preparation does: half sizes, other heading."""
    folder.mkdir(parents=True)
    rows = np.concatenate((BOXES, [[3], [0]]), axis=1)
    rows[:, 3:6] /= 2
    rows[:, 6] *= -1
    np.savez_compressed(folder / "000001_pc.npz", pc=cloud()[0])
    np.save(folder / "000001_bbox.npy", rows)
