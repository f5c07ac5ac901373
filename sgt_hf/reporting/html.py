"""Results → one self-contained HTML page, whatever the texts in it say.

The page asks the network for nothing and runs no script but its own: Jinja2 escapes every value, `visible` disarms what
escaping leaves (control and bidirectional characters), and a content security policy forbids the rest. It can be used
with a keyboard alone, without JavaScript (then without filters), in light and dark, and without telling colours apart.

    write_report("report.html", Report("LSTM on middle", tables=[…], figures=[Picture("Accuracy", figure, alt="…")]))
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..atomic import write_atomically
from .contents import Picture, Report, Table, TextEntry, View, check_table, check_text
from .layout import LEVELS, lay_out, make_filters
from .plots import to_png
from .visible import visible

MAX_TEXTS = 100
_PNG = b"\x89PNG\r\n\x1a\n"
__all__ = ["MAX_TEXTS", "Picture", "Report", "Table", "TextEntry", "View", "render_report", "write_report"]


def write_report(path: str | os.PathLike[str], report: Report, *, max_texts: int = MAX_TEXTS) -> None:
    """Write the page, whole or not at all.

    Args:
        path: Target; its folder is made.
        report: What to show.
        max_texts: Texts shown at most, ≥ 0; the page says how many were left out.

    Raises:
        ValueError: See `render_report`.
    """
    write_atomically(path, render_report(report, max_texts=max_texts))


def render_report(report: Report, *, max_texts: int = MAX_TEXTS) -> str:
    """Return the page.

    Args:
        report: What to show.
        max_texts: Texts shown at most, ≥ 0; the page says how many were left out.

    Raises:
        ValueError: A table's row, a text's scores, rationale or gaps, or a text's views do not fit, a picture is no
            PNG or has no alt text, and names which; or `max_texts` is below 0.
    """
    if max_texts < 0:
        raise ValueError(f"max_texts must be ≥ 0, got {max_texts}")
    for table in report.tables:
        check_table(table)
    names = [view.name for view in report.texts[0].views] if report.texts else []
    for text in report.texts:
        check_text(text, names)
    shown = report.texts[:max_texts]
    css, script = (Markup(_template_text(name)) for name in ("report.css", "report.js"))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            css=css,
            script=script,
            policy=_policy(css, script),
            pictures={"figures": _pictures(report.figures), "maps": _pictures(report.maps)},
            texts=[lay_out(text) for text in shown],
            left_out=len(report.texts) - len(shown),
            filters=make_filters(shown, names),
            levels=LEVELS,
        )
    )


@cache
def _environment() -> Environment:
    def disarm(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=PackageLoader("sgt_hf.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=disarm,
    )


def _template_text(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _policy(css: str, script: str) -> str:
    """Nothing but the page's own style and script, by their hashes, and images inside the page."""
    style, code = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, script))
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{code}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _pictures(pictures: Sequence[Picture]) -> list[tuple[Picture, Markup]]:
    made = []
    for picture in pictures:
        png = picture.image if isinstance(picture.image, bytes) else to_png(picture.image)
        if not png.startswith(_PNG) or not picture.alt.strip():
            raise ValueError(f"picture {picture.title!r} needs the bytes of a PNG or a Figure, and an alt text")
        made.append((picture, Markup("data:image/png;base64," + base64.b64encode(png).decode())))
    return made
