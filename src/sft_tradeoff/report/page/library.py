"""The JavaScript library that draws the chart: Vega-Lite, as vl-convert bundles it.

Why this one. The page has to work from a file, without a network, and to stay small. Vega-Lite with
all that it needs takes 0.9 MB; Plotly 7.1's bundle takes 4.8 MB, more than the page may have, and
Bokeh 3.9's 1.3 MB. Vega draws SVG, so that text stays text for a screen reader, a search and a
printer, and colors can be those of the page's style sheet in light, dark and print; Bokeh draws on
a canvas, where nothing of this holds. Observable Plot comes from npm alone, and its charts are
drawn anew at every change. vl-convert holds the libraries at fixed versions in one wheel, which the
Vega project maintains, so none of their code is in this repository.
"""

from __future__ import annotations

import functools

SNIPPET = "window.vegaEmbed = vegaEmbed;"


@functools.cache
def javascript() -> str:
    """Vega-Embed and what it needs as one script that sets ``window.vegaEmbed``."""
    import vl_convert  # starts a JavaScript engine

    script: str = vl_convert.javascript_bundle(SNIPPET)
    return script


def versions() -> str:
    """Versions of the two libraries."""
    import vl_convert

    newest = vl_convert.get_vegalite_versions()[-1]
    return f"Vega {vl_convert.get_vega_version()}, Vega-Lite {newest}"
