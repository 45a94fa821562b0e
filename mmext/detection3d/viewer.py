"""Pictures of scenes: points with predicted and true boxes, as png or as a page that turns.

True boxes are drawn in green, predicted ones in a colour per class; a line from the centre of each
to the middle of its front (+x of the box) shows where it points.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmext.files import write_file

from .loading import instances_from_boxes
from .structures import Boxes3D

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D

INSTALL = "pip install plotly"
_EDGES = (0, 1, 2, 3, 0, 4, 5, 6, 7, 4)
_UPRIGHT = ((1, 5), (2, 6), (3, 7))
_TRUE = "#1a9850"


@dataclass(frozen=True)
class BoxSet:
    """Boxes to draw.

    Attributes:
        boxes: N boxes.
        labels: (N,) classes.
        scores: (N,) scores; None for true boxes.
    """

    boxes: Boxes3D
    labels: np.ndarray
    scores: np.ndarray | None = None

    def best(self, count: int, score_thr: float) -> "BoxSet":
        """Return the boxes of the highest scores, at most ``count``."""
        order = np.argsort(-self.scores, kind="stable")[:count]
        order = order[self.scores[order] >= score_thr]
        return BoxSet(self.boxes[order], self.labels[order], self.scores[order])


def box_lines(boxes: Boxes3D) -> list[np.ndarray]:
    """Return the (K, 3) corners of a line along the edges of each box; NaN lifts the pen."""
    lines, gap = [], np.full((1, 3), np.nan)
    fronts = boxes.corners[:, [0, 1, 4, 5]].mean(dim=1)
    for corners, centre, front in zip(
        boxes.corners.double().numpy(),
        boxes.centres.double().numpy(),
        fronts.double().numpy(),
        strict=True,
    ):
        parts = [corners[list(_EDGES)]]
        for pair in (*(corners[list(edge)] for edge in _UPRIGHT), np.stack((centre, front))):
            parts += [gap, pair]
        lines.append(np.concatenate(parts))
    return lines


def thin_out(points: np.ndarray, most: int) -> np.ndarray:
    """Return at most as many points, the same ones each time."""
    if len(points) <= most:
        return points
    return points[np.random.default_rng(0).permutation(len(points))[:most]]


def _point_colors(points: np.ndarray) -> np.ndarray:
    """Return (N, 3) in [0, 1]: the points' own colours, or their height in grey tones."""
    if points.shape[1] >= 6:
        return points[:, 3:6].clip(0, 1)
    height = points[:, 2]
    low, high = np.percentile(height, (1, 99)) if len(height) else (0, 1)
    shade = 0.7 - 0.55 * ((height - low) / max(high - low, 1e-6)).clip(0, 1)
    return np.repeat(shade[:, None], 3, axis=1)


def color_by_class(points: np.ndarray, shown: BoxSet) -> np.ndarray:
    """Give the points in boxes the colour of their class, the others their grey tone.

    Args:
        points: (N, 3).
        shown: The boxes.

    Returns:
        (N, 6).
    """
    colors = _point_colors(points)
    owner = instances_from_boxes(points[:, :3], shown.boxes)
    for index, label in enumerate(shown.labels):
        hexed = class_color(label)
        colors[owner == index] = [int(hexed[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.concatenate((points[:, :3], colors), axis=1)


def class_color(label: int) -> str:
    """Return the colour of a class, as ``#rrggbb``."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    table = [color for i, color in enumerate(colormaps["tab20"].colors) if i not in (4, 5)]
    return to_hex(table[label % len(table)])


def _captions(found: BoxSet, classes: Sequence[str]) -> list[str]:
    names = [classes[label] for label in found.labels]
    if found.scores is None:
        return names
    return [f"{name} {score:.2f}" for name, score in zip(names, found.scores, strict=True)]


def draw_png(
    points: np.ndarray,
    classes: Sequence[str],
    truth: BoxSet | None = None,
    found: BoxSet | None = None,
    *,
    elevation: float = 40.0,
    azimuth: float = -60.0,
    size: tuple[float, float] = (8.0, 6.0),
    title: str = "",
    most_points: int = 8000,
) -> bytes:
    """Draw a scene from one side.

    Args:
        points: (N, 3) or (N, 6) with colours in [0, 1].
        classes: Names of the classes.
        truth: True boxes.
        found: Predicted boxes.
        elevation: Degrees above the horizon that the scene is seen from.
        azimuth: Degrees counter-clockwise from +x that it is seen from.
        size: Width and height in inches of 100 pixels.
        title: Written above.
        most_points: How many points are drawn at most.

    Returns:
        The content of a png.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 0.95), projection="3d", computed_zorder=False)
    shown = thin_out(points, most_points)
    style = dict(s=3, linewidths=0, depthshade=False, clip_on=False)
    axes.scatter(*shown[:, :3].T, c=_point_colors(shown), **style)
    drawn = [shown[:, :3]]
    for boxes in (truth, found):
        if boxes is None:
            continue
        lines, captions = box_lines(boxes.boxes), _captions(boxes, classes)
        drawn += lines
        for line, caption, label in zip(lines, captions, boxes.labels, strict=True):
            color = _TRUE if boxes.scores is None else class_color(label)
            axes.plot(*line.T, color=color, linewidth=1.2, clip_on=False)
            if found is None or boxes.scores is not None:
                top = np.nanmax(line, axis=0)
                x, y = np.nanmean(line[:, :2], axis=0)
                backing = dict(facecolor="white", alpha=0.7, linewidth=0, pad=0.5)
                place = (x, y, top[2] + 0.05, caption)
                axes.text(*place, color=color, fontsize=7, ha="center", bbox=backing, zorder=9)
    axes.set_proj_type("persp", focal_length=0.6)
    axes.view_init(elevation, azimuth)
    axes.set_axis_off()
    _fit(axes, np.concatenate(drawn))
    if title:
        axes.set_title(title, fontsize=9, y=1.0)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()


def _fit(axes: "Axes3D", drawn: np.ndarray) -> None:
    """Show (K, 3) points at one scale for all axes, as large as they fit into the figure."""
    from mpl_toolkits.mplot3d.proj3d import proj_transform

    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if not len(drawn):
        return
    middle = (drawn.min(axis=0) + drawn.max(axis=0)) / 2
    extent = np.maximum(np.ptp(drawn, axis=0), 0.1)
    axes.set(
        **{
            f"{axis}lim": (m - e / 2, m + e / 2)
            for axis, m, e in zip("xyz", middle, extent, strict=True)
        }
    )
    axes.set_box_aspect(extent)
    axes.apply_aspect()
    flat = np.stack(proj_transform(*drawn.T, axes.get_proj())[:2], axis=1)
    area, origin = axes.figure.bbox, axes.transData.transform((0, 0))
    needed = np.abs(axes.transData.transform(flat) - origin).max(axis=0)
    room = np.minimum(origin, (area.width, 0.95 * area.height) - origin)
    axes.set_box_aspect(extent, zoom=0.97 * (room / needed).min())


def draw_html(
    points: np.ndarray,
    classes: Sequence[str],
    truth: BoxSet | None = None,
    found: BoxSet | None = None,
    *,
    title: str = "",
    most_points: int = 30000,
) -> str:
    """Draw a scene as a page that turns in a browser and needs no network.

    Args:
        points: (N, 3) or (N, 6) with colours in [0, 1].
        classes: Names of the classes.
        truth: True boxes.
        found: Predicted boxes.
        title: Of the page.
        most_points: How many points are drawn at most.

    Returns:
        The page, about 5 MB: plotly's script is in it.

    Raises:
        ImportError: plotly is missing.
    """
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise ImportError(
            f"pages to turn need plotly: {INSTALL}; a .png is drawn without it"
        ) from error
    shown = thin_out(points, most_points)
    x, y, z = shown[:, :3].astype(np.float32).round(3).T
    colors = [f"rgb({r},{g},{b})" for r, g, b in (255 * _point_colors(shown)).astype(int)]
    traces = [
        go.Scatter3d(
            x=x, y=y, z=z, mode="markers", name="points", hoverinfo="skip",
            marker=dict(size=1.5, color=colors),
        )
    ]  # fmt: skip
    for boxes, what in ((truth, "true"), (found, "predicted")):
        if boxes is None:
            continue
        lines, captions = box_lines(boxes.boxes), _captions(boxes, classes)
        for line, caption, label in zip(lines, captions, boxes.labels, strict=True):
            color = _TRUE if boxes.scores is None else class_color(label)
            # Doubles without NaN: plotly writes None, which lifts the pen.
            x, y, z = ([None if np.isnan(v) else round(v, 4) for v in axis] for axis in line.T)
            traces.append(
                go.Scatter3d(
                    x=x, y=y, z=z, mode="lines", name=f"{what}: {caption}", legendgroup=what,
                    line=dict(color=color, width=4), hoverinfo="name",
                )
            )  # fmt: skip
    figure = go.Figure(traces)
    hidden = dict(visible=False)
    figure.update_layout(
        title=title,
        scene=dict(aspectmode="data", xaxis=hidden, yaxis=hidden, zaxis=hidden),
        margin=dict(l=0, r=0, t=40, b=0),
    )
    return figure.to_html(include_plotlyjs=True, full_html=True)


def write_picture(path: Path, *args: object, **kwargs: object) -> None:
    """Write a scene to a ``.png`` (:func:`draw_png`) or ``.html`` (:func:`draw_html`) file.

    Args:
        path: File to write; its suffix decides.
        *args: As for the two functions.
        **kwargs: As for the two functions.

    Raises:
        ValueError: Another suffix.
    """
    if path.suffix not in (".png", ".html"):
        raise ValueError(f"{path}: expected a name that ends with .png or .html")
    draw = draw_png if path.suffix == ".png" else draw_html
    write_file(path, draw(*args, **kwargs))
