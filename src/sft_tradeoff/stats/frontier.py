"""The trade-off of a whole method in one number: the hypervolume of its frontier."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def hypervolume(points: ArrayLike, reference: tuple[float, float]) -> np.ndarray:
    """Area between a method's frontier and a reference point, as moocore computes it.

    A point is (domain score, general loss), one per learning rate: more score and less loss is
    better. Points that are not better than the reference in both count nothing.

    Args:
        points: [..., k, 2]; leading axes: resamples, seeds, ...
        reference: A score that is low enough and a loss that is high enough to count nothing: the
            same for all methods, and fixed before the scores are known.

    Returns:
        [...], in the product of the two units; NaN where a point is NaN.
    """
    import moocore

    given = np.asarray(points, dtype=np.float64)
    flat = given.reshape(-1, *given.shape[-2:])
    found = np.full(len(flat), np.nan)
    for i in np.flatnonzero(~np.isnan(flat).any((1, 2))):
        found[i] = moocore.hypervolume(flat[i], ref=reference, maximise=[True, False])
    return found.reshape(given.shape[:-2])


def hypervolume_difference(
    ours: ArrayLike, theirs: ArrayLike, reference: tuple[float, float]
) -> np.ndarray:
    """Hypervolume of one method minus that of another; positive if the first has more.

    The best of several noisy scores is too good, the more of them there are: give both methods
    as many learning rates.

    Args:
        ours: [..., k, 2].
        theirs: [..., k, 2], on the same resamples and seeds.
        reference: As for :func:`hypervolume`.

    Raises:
        ValueError: If one method has more points than the other.
    """
    n, m = (np.asarray(points).shape[-2] for points in (ours, theirs))
    if n != m:
        raise ValueError(f"{n} points against {m}; compare methods at as many learning rates")
    difference: np.ndarray = hypervolume(ours, reference) - hypervolume(theirs, reference)
    return difference
