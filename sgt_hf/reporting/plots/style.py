"""What all figures have in common: colours, dashes, markers, text as it stands, and their form as PNG."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

from ..visible import visible

# Okabe and Ito, Color Universal Design, 2008; the yellow is left out, which white paper swallows.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX"
LONGEST = 40


def line_style(i: int) -> dict[str, str]:
    """Return colour and dashes of the i-th curve."""
    return {"color": PALETTE[i % len(PALETTE)], "linestyle": DASHES[i % len(DASHES)]}


def plain(text: str) -> str:
    """Return text that Matplotlib shows as it stands, cut to 40 characters.

    $ would start a formula, a leading underscore hides from legends, and control characters have no glyph.

    Args:
        text: A name.
    """
    shown = visible(text)
    escaped = (shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…").replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def to_png(figure: Figure, *, dpi: int = 110) -> bytes:
    """Render a figure; the same figure gives the same bytes.

    Args:
        figure: Of this module or any other.
        dpi: Pixels an inch.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
