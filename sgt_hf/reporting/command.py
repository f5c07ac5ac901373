"""The command that started this program, without what should not be told."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence

# In the name of an option; tokenizer, max_tokens, token_type_ids, author and keyboard are none.
_SECRET = (
    r"(?<!max.|min.|new.|num.)tokens(?![a-z])|token(?!s(?![a-z])|iz|is|[._-]?type)|secret|passw|passphrase|pwd|"
    r"credential|auth(?!ors?(?!i))|keys?(?![a-z]|[._-]\w)"
)
_ASSIGNMENT = re.compile(rf"(?i)(.*?(?:{_SECRET})[^=:]*[=:]).+", re.DOTALL)
_OPTION = re.compile(rf"(?i)-[^=:]*({_SECRET})[^=:]*", re.DOTALL)


def running_command(arguments: Sequence[str] | None = None) -> str | None:
    """Return the command line of this program, what is named after tokens, keys or passwords hidden.

    Args:
        arguments: Of the script, its own name first; by default those of this process.

    Returns:
        One line for a shell, or None where no script was started, as in a notebook.

    Examples:
        >>> running_command(["train.py", "--hub_token", "hf_1", "--api-key=2", "--seed", "0"])
        'python train.py --hub_token [secret] --api-key=[secret] --seed 0'
    """
    if arguments is None:
        main = sys.modules["__main__"]
        if not hasattr(main, "__file__") or "ipykernel" in sys.modules:
            return None
        spec = getattr(main, "__spec__", None)
        program = [os.path.basename(sys.argv[0])] if spec is None else ["-m", spec.name.removesuffix(".__main__")]
        arguments = [*program, *sys.argv[1:]]
    shown: list[str] = []
    hide = False
    for argument in arguments:
        assignment = _ASSIGNMENT.fullmatch(argument)
        told = f"{shlex.quote(assignment[1])}[secret]" if assignment else shlex.quote(argument)
        shown.append("[secret]" if hide else told)
        # What follows such an option is its value, however it begins; a flag's hides one argument too many.
        hide = bool(_OPTION.fullmatch(argument))
    return " ".join(["python", *shown])
