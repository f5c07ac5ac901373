"""The command that started this program, without what should not be told."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence

_SECRET = re.compile(r"(?i)-.*(token|secret|password|passwd|credential|api[-_]?key)")


def running_command(arguments: Sequence[str] | None = None) -> str | None:
    """Return the command line of this program, the values of options named after tokens, keys or passwords hidden.

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
    hide_next = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        secret = bool(_SECRET.fullmatch(name))
        if hide_next and not argument.startswith("-"):
            shown.append("[secret]")
        else:
            shown.append(f"{shlex.quote(name)}=[secret]" if secret and equals else shlex.quote(argument))
        hide_next = secret and not equals
    return " ".join(["python", *shown])
