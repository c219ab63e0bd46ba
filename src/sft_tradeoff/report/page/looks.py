"""Colors, line styles and marker shapes of the explorer: those of the figures.

Methods differ in color and line style, learning rates in marker shape. A marker is filled where
its run is within the tolerance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sft_tradeoff.report.figures.style import COLORS, method_styles, rate_markers

if TYPE_CHECKING:
    import pandas as pd


def _polygon(n: int) -> str:
    """Path of a regular polygon that points upwards, within ±1."""
    angles = (2 * math.pi * i / n - math.pi / 2 for i in range(n))
    return "M" + "L".join(f"{math.cos(a):.3f},{math.sin(a):.3f}" for a in angles) + "Z"


# Matplotlib's markers as SVG paths within ±1.
PATHS = {
    "o": "M-.9,0A.9,.9,0,1,1,.9,0A.9,.9,0,1,1,-.9,0Z",
    "s": "M-.8,-.8L.8,-.8L.8,.8L-.8,.8Z",
    "D": "M0,-1.1L1.1,0L0,1.1L-1.1,0Z",
    "^": "M0,-1L1,.8L-1,.8Z",
    "v": "M0,1L1,-.8L-1,-.8Z",
    "P": "M-.3,-1L.3,-1L.3,-.3L1,-.3L1,.3L.3,.3L.3,1L-.3,1L-.3,.3L-1,.3L-1,-.3L-.3,-.3Z",
    "X": "M-.9,-.5L-.5,-.9L0,-.4L.5,-.9L.9,-.5L.4,0L.9,.5L.5,.9L0,.4L-.5,.9L-.9,.5L-.4,0Z",
    "<": "M-1,0L.8,-1L.8,1Z",
    ">": "M1,0L-.8,-1L-.8,1Z",
    "p": _polygon(5),
    "h": _polygon(6),
}
# Dashes of the first methods, and of those whose color is there a second time.
DASHES = {"-": [1, 0], "--": [6, 3], ":": [2, 2.5], "-.": [7, 2.5, 2, 2.5]}
MORE_DASHES = {"-": [12, 3], "--": [3.5, 3.5], ":": [1, 4], "-.": [12, 3, 4, 3]}


def looks(over_seeds: pd.DataFrame) -> dict[str, Any]:
    """How methods and rates look.

    Args:
        over_seeds: The trade-off over seeds.

    Returns:
        ``methods``: label -> ``color`` and ``dash``; ``rates``: a list of ``rate`` and ``path``.
    """
    styles, markers = method_styles(over_seeds), rate_markers(over_seeds)
    dashes = (DASHES if i < len(COLORS) else MORE_DASHES for i in range(len(styles)))
    methods = {
        label: {"color": style.color, "dash": dash[str(style.line)]}
        for dash, (label, style) in zip(dashes, styles.items(), strict=True)
    }
    rates = [{"rate": float(rate), "path": PATHS[shape]} for rate, shape in markers.items()]
    return {"methods": methods, "rates": rates}
