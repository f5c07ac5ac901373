"""Arrays → numbers, no model. Each metric is also an `evaluate` module in a folder of its name."""

from __future__ import annotations

from pathlib import Path


def module_path(name: str) -> str:
    """Return the folder of an `evaluate` module of this package, to be given to `evaluate.load`; works offline.

    Args:
        name: The metric's name, which is its folder's.

    Returns:
        The folder's path.

    Raises:
        ValueError: There is no such metric; the message names those there are.
    """
    root = Path(__file__).parent
    known = sorted(path.parent.name for path in root.glob("*/README.md"))
    if name not in known:
        raise ValueError(f"unknown metric {name!r}: there are {known}")
    return str(root / name)
