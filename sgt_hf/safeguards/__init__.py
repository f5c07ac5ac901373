"""What keeps a training from going wrong unseen: refusals before it, bad batches in it, checkpoints after a kill."""

from .bad_batches import BadBatches
from .bad_rows import NamingCollator
from .checkpoints import last_complete_checkpoint
from .first_texts import refuse_bad_texts
from .refusals import refuse_unknown_input, refuse_unsupported

__all__ = [
    "BadBatches",
    "NamingCollator",
    "last_complete_checkpoint",
    "refuse_bad_texts",
    "refuse_unknown_input",
    "refuse_unsupported",
]
