"""The closed forms of :func:`mmext.ops.gaussian_distance` in plain torch.

Every form is a sum of terms that vanish one by one as the boxes come to agree, so that nothing
large is subtracted from anything large: no determinant, inverse or matrix root appears.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# pi / 2 in three parts; a product of the first two with a small whole number is exact.
_HALF_PI: dict[torch.dtype, tuple[float, float, float]] = {
    torch.float32: (1.5703125, 4.837512969970703125e-4, 7.549789948768648e-8),
    torch.float64: (1.57079632673412561417, 6.07710050630396597660e-11, 2.0222662487959506e-21),
}

# Sides are raised to this part of the largest length of a pair, and to this many pixels. Sides of
# 1e-6 beside 1e6 stay as they are, and no distance or gradient exceeds the range of float32.
FLOOR = 2.0**-40


class _Pair(NamedTuple):
    """Geometry of N pairs, each entry (N,).

    The edges of rotated t are named such that p and t have the longer one at the same place.
    The offset of the centres is ``(dx, dy)`` in the image, ``(u, v)`` in p's frame and ``(r, s)``
    in t's; ``sin`` and ``cos`` are those of the angle from p to t.
    """

    dx: Tensor
    dy: Tensor
    u: Tensor
    v: Tensor
    r: Tensor
    s: Tensor
    sin: Tensor
    cos: Tensor
    wp: Tensor
    hp: Tensor
    wt: Tensor
    ht: Tensor

    def exchanged(self) -> "_Pair":
        """Return the pair with the roles of p and t exchanged."""
        return _Pair(
            *(self.dx, self.dy, self.r, self.s, self.u, self.v, -self.sin, self.cos),
            *(self.wt, self.ht, self.wp, self.hp),
        )


def gaussian_distance_reference(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    kind: str,
    alpha: float,
    normalize: bool,
    scale: float,
    sqrt: bool,
    fun: str,
    tau: float,
) -> Tensor:
    """Compute :func:`mmext.ops.gaussian_distance` with plain differentiable torch functions.

    Test oracle, fallback, and the source of second derivatives. Takes the arguments of
    :func:`mmext.ops.gaussian_distance` in float32 or float64.
    """
    live = None
    if weight is not None:
        live = weight != 0
        pred, target = (boxes.where(live[:, None], 1) for boxes in (pred, target))
    pair = _measure(pred, target)
    value = _DISTANCES[kind](pair, alpha)
    if normalize:
        value = value / ((pair.wp * pair.hp).sqrt() * (pair.wt * pair.ht).sqrt())
    value = scale * value
    if sqrt:
        value = _root(value)
    value = _FUNCTIONS[fun](value)
    if tau:
        value = _saturated(value, tau)
    return value if live is None else (value * weight).where(live, 0)


def _measure(pred: Tensor, target: Tensor) -> _Pair:
    """Turn (N, 5) rotated or (N, 4) horizontal boxes into the geometry of their pairs."""
    p, t = pred.unbind(1), target.unbind(1)
    if pred.shape[1] == 4:
        dx, dy = ((t[i] - p[i] + t[i + 2] - p[i + 2]) / 2 for i in range(2))
        sides = [box[i + 2] - box[i] for box in (p, t) for i in range(2)]
    else:
        dx, dy = (t[i] - p[i] for i in range(2))
        sides = [p[2], p[3], t[2], t[3]]
    largest = torch.stack([dx.abs(), dy.abs(), *sides]).detach().amax(0)
    floor = FLOOR * largest.clamp(min=1)
    wp, hp, wt, ht = (_raised(side, floor) for side in sides)
    if pred.shape[1] == 4:
        sin, cos = torch.zeros_like(dx), torch.ones_like(dx)
        return _Pair(dx, dy, dx, dy, dx, dy, sin, cos, wp, hp, wt, ht)

    swapped = (wp >= hp) != (wt >= ht)
    wt, ht = ht.where(swapped, wt), wt.where(swapped, ht)
    angle = _turn(p[4], t[4], swapped)
    u, v = _in_frame_of(p[4], dx, dy)
    r, s = _in_frame_of(t[4], dx, dy)
    r, s = s.where(swapped, r), (-r).where(swapped, s)
    return _Pair(dx, dy, u, v, r, s, angle.sin(), angle.cos(), wp, hp, wt, ht)


def _in_frame_of(angle: Tensor, dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """Turn offsets into the frame of boxes at the given angle."""
    sin, cos = angle.sin(), angle.cos()
    return dx * cos + dy * sin, dy * cos - dx * sin


def _raised(side: Tensor, floor: Tensor) -> Tensor:
    """Raise sides to the floor, with the gradient of the identity; negative ones become NaN."""
    side = side.where(side >= 0, math.nan)
    return side + (floor - side).clamp(min=0).detach()


def _turn(p: Tensor, t: Tensor, swapped: Tensor) -> Tensor:
    """Reduce the angle from p to t (a quarter turn more if swapped) to [-pi/2, pi/2].

    The rounding error of ``t - p`` is added back, so that angles half a turn apart are equal.
    """
    high, middle, low = _HALF_PI[p.dtype]
    difference = t - p
    with torch.no_grad():
        back = difference - t
        error = (t - (difference - back)) - (p + back)
        odd = swapped.to(p.dtype)
        quarters = 2 * ((difference / (math.pi / 2) - odd) / 2).round() + odd
        error = error - quarters * low
    return (difference - quarters * high) - quarters * middle + error


def _kl(pair: _Pair, alpha: float) -> Tensor:
    """KL(t || p): centre, sides and angle."""
    centre = 2 * ((pair.u / pair.wp).square() + (pair.v / pair.hp).square()) / alpha**2
    sides = _log_excess(pair.wt, pair.wp) + _log_excess(pair.ht, pair.hp)
    t_part = (pair.wt - pair.ht) / pair.hp * ((pair.wt + pair.ht) / pair.hp)
    p_part = (pair.wp - pair.hp) / pair.wp * ((pair.wp + pair.hp) / pair.wp)
    return centre + sides + pair.sin.square() * t_part * p_part / 2


def _log_excess(t: Tensor, p: Tensor) -> Tensor:
    """(r^2 - 1) / 2 - ln r for r = t / p, exact to rounding near r = 1 too.

    With z = r - 1 and s = z / (2 + z), ln r = 2 artanh s, and z - 2 s = z s.
    """
    z, s = (t - p) / p, (t - p) / (t + p)
    square = s.square()
    series = torch.zeros_like(s)
    for power in range(21, 1, -2):
        series = series * square + 2 / power
    near = z * s - series * s * square
    return z.square() / 2 + near.where(z.abs() < 0.3, z - (t / p).log())


def _wasserstein(pair: _Pair, alpha: float) -> Tensor:
    """W2^2, whose coupling term is 2 C k with k^2 = cos^2 + (E / C)^2 sin^2."""
    ap, bp, at, bt = (side / 2 for side in (pair.wp, pair.hp, pair.wt, pair.ht))
    parallel = ap * at + bp * bt
    ratio = (ap * bt + bp * at) / parallel
    coupling = (pair.cos.square() + (ratio * pair.sin).square()).sqrt()
    stretch = ((ap - bp) * (ap + bp) / parallel) * ((at - bt) * (at + bt) / parallel)
    angle = 2 * pair.sin.square() * parallel * stretch / (1 + coupling)
    shape = (ap - at).square() + (bp - bt).square() + angle
    return pair.dx.square() + pair.dy.square() + alpha**2 * shape


def _spread(pair: _Pair) -> Tensor:
    """X of det(Sp + St) = 4 sqrt(det Sp det St) (1 + X)."""
    in_w = (pair.wp - pair.wt).square() / (2 * pair.wp * pair.wt)
    in_h = (pair.hp - pair.ht).square() / (2 * pair.hp * pair.ht)
    p_part = (pair.wp - pair.hp) * (pair.wp + pair.hp) / (pair.wp * pair.hp)
    t_part = (pair.wt - pair.ht) * (pair.wt + pair.ht) / (pair.wt * pair.ht)
    return in_w + in_h + in_w * in_h + pair.sin.square() * p_part * t_part / 4


def _bhattacharyya(pair: _Pair, centre_factor: float) -> Tensor:
    """Bhattacharyya distance, its centre term multiplied by a factor."""
    _, _, u, v, r, s, _, _, wp, hp, wt, ht = pair
    spread = _spread(pair)
    centre = (
        u.square() / (wp * wt) * (hp / ht)
        + v.square() / (hp * ht) * (wp / wt)
        + r.square() / (wp * wt) * (ht / hp)
        + s.square() / (hp * ht) * (wt / wp)
    )
    return centre_factor / 4 * centre / (1 + spread) + spread.log1p() / 2


def _kfiou(pair: _Pair, _: float) -> Tensor:
    """KFIoU, in [0, 1/3]."""
    root = ((pair.wp / pair.wt) * (pair.hp / pair.ht)).sqrt()
    return 1 / (2 * (1 + _spread(pair)).sqrt() * (root + 1 / root) - 1)


def _smaller(pair: _Pair, alpha: float) -> Tensor:
    forward, reverse = _kl(pair, alpha), _kl(pair.exchanged(), alpha)
    return forward.where(forward <= reverse, reverse)


def _larger(pair: _Pair, alpha: float) -> Tensor:
    forward, reverse = _kl(pair, alpha), _kl(pair.exchanged(), alpha)
    return forward.where(forward > reverse, reverse)


def _root(value: Tensor) -> Tensor:
    """Square root whose gradient at 0 is 0."""
    positive = value > 0
    return value.where(positive, 1).sqrt().where(positive, value)


def _saturated(value: Tensor, tau: float) -> Tensor:
    """1 - 1 / (tau + f), by the form whose value and gradient keep their digits."""
    small = (tau - 1 + value) / (tau + value)
    return small.where(value < 1, 1 - 1 / (tau + value))


def _hellinger(value: Tensor) -> Tensor:
    """sqrt(1 - exp(-D)); written such that its gradient exp(-D) / 2 sqrt(..) keeps its digits."""
    near = _root(-torch.expm1(-value.clamp(max=1)))
    far = (1 - (-value.clamp(min=1)).exp()).sqrt()
    return near.where(value < 1, far)


_DISTANCES: dict[str, Callable[[_Pair, float], Tensor]] = {
    "gwd": _wasserstein,
    "kld": _kl,
    "kld_pt": lambda pair, alpha: _kl(pair.exchanged(), alpha),
    "kld_min": _smaller,
    "kld_max": _larger,
    "jeffreys": lambda pair, alpha: _kl(pair, alpha) + _kl(pair.exchanged(), alpha),
    "js": lambda pair, _: 2 * _bhattacharyya(pair, 1.0),
    "bcd": lambda pair, _: _bhattacharyya(pair, 1.0),
    "probiou": lambda pair, _: _bhattacharyya(pair, 3.0),
    "kfiou": _kfiou,
}

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda value: value,
    "log1p": torch.log1p,
    "sqrt": _root,
    "hellinger": _hellinger,
    "one_minus": lambda value: 1 - value,
    "neg_log": lambda value: -value.log(),
    "expm1": lambda value: torch.expm1(1 - value),
}
