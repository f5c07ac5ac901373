"""Text that came from anywhere → text that can do nothing to the terminal or page that shows it."""

from __future__ import annotations

import re
import unicodedata

_KEPT = {"\n", "\t", "\u200c", "\u200d"}  # line ends; and the joiners, which Persian and emoji need
_SUSPECT = re.compile(r"[^\x20-\x7e\n\t\xa0-\xac\xae-\u05ff\u4e00-\u9fff]")
_INVISIBLE = {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}


def visible(text: str) -> str:
    r"""Write control characters, bidirectional controls and the like as pictures or as their code points.

    Terminals obey escape sequences and browsers obey bidirectional controls, neither of which HTML escaping touches.
    Line ends, tabs, and the two joiners of scripts stay.

    Args:
        text: Any string, lone surrogates included.

    Returns:
        A string that encodes as UTF-8.

    Examples:
        >>> visible("a\x1b[31m \u202eb\x00")
        'a⟨U+001B⟩[31m ⟨U+202E⟩b⟨U+0000⟩'
    """
    return _SUSPECT.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    character = match[0]
    if character in _KEPT or unicodedata.category(character) not in _INVISIBLE:
        return character
    return f"⟨U+{ord(character):04X}⟩"
