"""Text of unknown origin in Markdown: nothing in it becomes markup, a link, a line or a change of direction."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .visible import visible

NOT_RECORDED = "not recorded"

# Every colon and at sign, and the dot of `www.`, because viewers make links of bare addresses and names.
_MARKUP = re.compile(r"[\\`*_{}\[\]#|~$!^=:@]|(?<=www)\.", re.IGNORECASE)


class Markdown(str):
    """Text that is Markdown already, and is not escaped again."""

    __slots__ = ()


def one_line(text: str) -> str:
    r"""Return text that is one line, without control characters, of which `visible` makes something to see.

    Args:
        text: Any.

    Examples:
        >>> one_line("a\u202eb\nc")
        'a⟨U+202E⟩b c'
    """
    return visible(text).replace("\n", " ").replace("\t", " ")


def escape(value: object) -> Markdown:
    r"""Return text that Markdown and HTML show as it is; None is said to be not recorded.

    Args:
        value: What to show.

    Examples:
        >>> print(escape("<b>[x](http://e.vil)|"))
        &lt;b&gt;\[x\](http\://e.vil)\|
        >>> print(escape(None))
        not recorded
    """
    if isinstance(value, Markdown):
        return value
    if value is None:
        return Markdown(NOT_RECORDED)
    # References first: an ampersand of the text must not begin one.
    text = one_line(str(value)).replace("&", "&amp;")
    text = _MARKUP.sub(r"\\\g<0>", text)
    return Markdown(text.replace("<", "&lt;").replace(">", "&gt;"))


def code_block(text: str, language: str = "") -> Markdown:
    """Return a block of code, fenced by more backticks than the text has in a row.

    Args:
        text: The code.
        language: For the colours.
    """
    shown = visible(text).rstrip("\n")
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", shown))])
    return Markdown(f"{fence}{language}\n{shown}\n{fence}")


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> Markdown:
    """Return a table, its cells escaped.

    Args:
        header: Names of the columns.
        rows: Cells, as many as the header has.
    """
    cells = [[escape(cell) for cell in row] for row in [header, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines.insert(1, "|" + " --- |" * len(header))
    return Markdown("\n".join(lines))
