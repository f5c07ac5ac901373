"""What keeps a training from going wrong unseen: refusals before it, bad batches in it, checkpoints after a kill."""

from .bad_batches import BadBatches
from .checkpoints import last_complete_checkpoint
from .refusals import refuse_unsupported

__all__ = ["BadBatches", "last_complete_checkpoint", "refuse_unsupported"]
