"""Saving and pushing: folders and repositories that say how the model was trained and what was measured."""

from __future__ import annotations

import copy
import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from huggingface_hub import HfApi
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy
from transformers.utils.hub import PushInProgress

from ..atomic import copy_atomically, filled_folder, link_or_copy
from .carried import mark
from .model_card import without_secrets
from .push_errors import PushError, reason_of, way_out
from .recipe import RECIPE_FILE
from .remembering import RememberingTrainer

logger = logging.getLogger(__name__)

# What `Trainer` leaves out of a push, and its pickled arguments: other programs write those, with the token in them.
NOT_PUSHED = ("_*", f"{PREFIX_CHECKPOINT_DIR}-*", TRAINING_ARGS_NAME)
_PUSHING_PREFIX = "_pushing-"  # so it is not pushed itself
# What a checkpoint holds for resuming, beside the model.
_TRAINING_STATE = re.compile(r"optimizer|scheduler|scaler|rng_state|trainer_state|training_args|README|_")


class PublishingTrainer(RememberingTrainer):
    """`Trainer` whose saves carry knobs and adapter, and whose pushes say what failed.

    Differs from `Trainer` in that saving replaces whole files, keeps no `training_args.bin` (a pickle, with the token
    in it), and that a failed push says how to push again.
    """

    hub_model_id: Any  # a str or None, and below a PushInProgress or None: `Trainer` leaves both untyped
    push_in_progress: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._api, self._saved = HfApi(library_name="sgt_hf"), False
        super().__init__(*args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as `Trainer` does; afterwards the model's config carries the recipe to `model.push_to_hub`."""
        self._finish_current_push()  # this training may write on a checkpoint that an earlier one still pushes
        before = self._steps(), self._earlier
        self._begin(resume_from_checkpoint)
        try:
            return super().train(resume_from_checkpoint, *args, **kwargs)
        except BaseException:
            if self.state.global_step == 0:  # the weights are what they were
                self._steps_before, self._earlier = before
            raise
        finally:
            mark(self._published(), self.recipe())

    def init_hf_repo(self, token: str | None = None, private: bool | None = None, revision: str | None = None) -> None:
        """Create the repository where there is none, as `Trainer` does.

        Args:
            token: By default `args.hub_token`, or the one that `hf auth login` keeps.
            private: Whether a new repository is; by default `args.hub_private_repo`.
            revision: Branch that the push is to go to, which a failure tells; by default `args.hub_revision`.

        Raises:
            PushError: The hub refused, or was not reached.
        """
        if not self.is_world_process_zero():
            return
        name = self.args.hub_model_id or Path(self._folder).absolute().name
        token = self.args.hub_token if token is None else token
        where = self._where(revision, private)
        with self._failing_clearly(name, f"creating the repository {name!r}", token, where):
            created = self._api.create_repo(name, token=token, private=where["private"], exist_ok=True)
            self.hub_model_id = created.repo_id
        self.push_in_progress = None

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Save, write the card and push, as `Trainer` does; saving comes first, so that the folder is whole before.

        Args:
            commit_message: Of the commit.
            blocking: Whether to wait for the end.
            token: By default `args.hub_token`, or the one that `hf auth login` keeps.
            revision: Branch; by default `args.hub_revision`.
            private: Whether a new repository is; by default `args.hub_private_repo`.
            **kwargs: Those of `create_model_card`.

        Returns:
            The commit, or a future of it; None beside the main process.

        Raises:
            PushError: The push failed; the model is whole in `args.output_dir`.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        token = self.args.hub_token if token is None else token
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private, revision=revision)
        kwargs["tags"] = _with_tags(kwargs.get("tags"), getattr(self.model, "model_tags", None))
        self.create_model_card(**kwargs)
        if blocking:  # one in the background comes after the others anyway
            self._finish_current_push()
        return self._upload(
            self._folder, commit_message, token=token, revision=revision, private=private, blocking=blocking
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push what a checkpoint was saved with, in the background."""
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        under_way = self.push_in_progress is not None and not self.push_in_progress.is_done()
        if under_way and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        copy_atomically(checkpoint_folder, self._folder, leave_out=_TRAINING_STATE)
        self._saved = True
        message = f"Training in progress, step {self.state.global_step}"
        self._upload(self._folder, message, blocking=False)
        if self.args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            last = self.args.hub_strategy == HubStrategy.CHECKPOINT
            place = "last-checkpoint" if last else Path(checkpoint_folder).name
            self._upload(checkpoint_folder, f"{message}, checkpoint", blocking=False, place=place)

    def _upload(
        self,
        folder: str,
        message: str | None,
        *,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        blocking: bool = True,
        place: str | None = None,
    ) -> Any:
        repo, token = str(self.hub_model_id), token or self.args.hub_token
        where = self._where(revision, private)
        settings: dict[str, Any] = {
            "repo_id": repo,
            "path_in_repo": place,
            "commit_message": message,
            "token": token,
            "revision": where["revision"],
            "ignore_patterns": list(NOT_PUSHED),
        }

        def push(source: str) -> Any:
            with self._failing_clearly(repo, f"pushing {folder!r} to {repo!r}", token, where):
                return self._api.upload_folder(folder_path=source, **settings)

        return push(folder) if blocking else self._in_background(folder, push)

    def _in_background(self, folder: str, push: Callable[[str], Any]) -> Future[Any]:
        """Push what a folder holds now, after the pushes before it, whatever training does to the folder meanwhile."""
        room = tempfile.TemporaryDirectory(prefix=_PUSHING_PREFIX, dir=self._folder, ignore_cleanup_errors=True)
        link_or_copy(folder, room.name, leave_out=(*NOT_PUSHED, ".git"))

        def pushing() -> Any:
            with room:
                try:
                    return push(room.name)
                except PushError as error:  # nobody may ever ask for the result
                    logger.warning("%s", error)
                    raise

        future = self._api.run_as_future(pushing)
        if self.push_in_progress is None or self.push_in_progress.is_done():
            self.push_in_progress = PushInProgress()  # with an empty list of jobs
        self.push_in_progress.jobs.append(future)
        return future

    def _where(self, revision: str | None, private: bool | None) -> dict[str, Any]:
        """Branch and privacy that a call asks for, or else the arguments."""
        private = self.args.hub_private_repo if private is None else private
        return {"revision": revision or self.args.hub_revision, "private": private}

    @contextmanager
    def _failing_clearly(self, repo: str, doing: str, token: str | None, where: dict[str, Any]) -> Iterator[None]:
        """Say of a failure where the model is and how to push it again; the token is in no message."""
        try:
            yield
        except KeyboardInterrupt:
            logger.warning("%s was interrupted. %s", doing, self._way_out(repo, where))
            raise
        except Exception as error:
            reason = without_secrets(reason_of(error), [*self._secrets(), token or ""])
            raise PushError(f"{doing} failed: {reason}\n{self._way_out(repo, where)}") from error

    def _way_out(self, repo: str, where: dict[str, Any]) -> str:
        return way_out(self._folder if self._saved else None, repo, left_out=NOT_PUSHED, **where)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save as `Trainer` does, with the recipe, replacing whole files."""
        if not self.args.should_save:
            super()._save(output_dir, state_dict)
            return
        target, recipe = Path(output_dir or self._folder), self.recipe()
        mark(self._published(), recipe)
        with filled_folder(target) as staging, self._arguments_to_pickle():
            super()._save(str(staging), state_dict)
            (staging / TRAINING_ARGS_NAME).unlink(missing_ok=True)
            (staging / RECIPE_FILE).write_text(recipe.to_json(), encoding="utf-8")
            if (target / "README.md").exists():  # PEFT writes one with every save; ours or the user's stays
                (staging / "README.md").unlink(missing_ok=True)
        self._saved = self._saved or target == Path(self._folder)

    @contextmanager
    def _arguments_to_pickle(self) -> Iterator[None]:
        """`Trainer._save` pickles its arguments: without the token, and functions such as a lambda cannot be."""
        kept = self.args
        self.args = copy.copy(kept)
        self.args.hub_token = None
        for name, value in vars(kept).items():
            if name.startswith("sgt_") and callable(value):
                setattr(self.args, name, None)
        try:
            yield
        finally:
            self.args = kept

    @property
    def _folder(self) -> str:
        return cast(str, self.args.output_dir)  # `TrainingArguments` fills it in


def _with_tags(given: str | list[str] | None, more: list[str] | None) -> list[str]:
    first = [given] if isinstance(given, str) else list(given or [])
    return list(dict.fromkeys([*first, *(more or [])]))
