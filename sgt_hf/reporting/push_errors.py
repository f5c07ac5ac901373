"""What a failed push says: why, where the model is, and how to push it again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence


class PushError(RuntimeError):
    """A push failed; the message says where the whole model is and how to push it again."""


def way_out(
    folder: str | None, repo: str, *, left_out: Sequence[str], revision: str | None, private: bool | None
) -> str:
    """Return how to push again what could not be pushed.

    Args:
        folder: Where the whole model is; None before anything was saved.
        repo: `user/name`.
        left_out: Patterns of what is not pushed.
        revision: Branch that the push was to go to, or None for the main one.
        private: Whether a new repository was to be, or None for the hub's default.
    """
    if folder is None:
        return "This trainer has saved nothing yet. Log in with `hf auth login` or pass hub_token, and start again."
    asked = {name: value for name, value in (("revision", revision), ("private", private)) if value is not None}
    call = ", ".join(f"{name}={value!r}" for name, value in asked.items())
    command = ["hf", "upload", repo, os.path.abspath(folder), "."]
    for pattern in left_out:
        command += ["--exclude", pattern]
    command += [] if revision is None else ["--revision", revision]
    command += ["--private"] if private else []
    return (
        f"The model is whole in {os.path.abspath(folder)!r}. Push it again with trainer.push_to_hub({call}), or from a "
        f"shell, after `hf auth login`:\n{shlex.join(command)}"
    )


def reason_of(error: BaseException) -> str:
    """Return the error and what caused it: the client wraps what the server said into an error that does not.

    Args:
        error: Of the client.
    """
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return "; caused by ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
