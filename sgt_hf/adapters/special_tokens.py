"""Which tokens of a tokenizer carry structure, and which stands for what."""

from __future__ import annotations

from collections.abc import Mapping

from transformers import PreTrainedTokenizerBase

_ROLES = ("bos_token", "eos_token", "sep_token", "pad_token", "cls_token", "mask_token")


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids that carry structure. [UNK] stands for a word of the text, unless its id has another role.

    Args:
        tokenizer: Any.
    """
    added = getattr(tokenizer, "added_tokens_decoder", None)  # not every backend has it
    marked = {index for index, token in added.items() if token.special} if isinstance(added, Mapping) else set()
    ids = set(tokenizer.all_special_ids) | marked  # chat templates' tokens have no role, only the mark
    roles = tokenizer.special_tokens_map
    structural = {tokenizer.convert_tokens_to_ids(str(roles[role])) for role in _ROLES if role in roles}
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id not in structural:
        ids.discard(tokenizer.unk_token_id)
    return ids


def token_id(tokenizer: PreTrainedTokenizerBase, role: str) -> int | None:
    """Return the id of the token of a role, None where the tokenizer has none.

    Args:
        tokenizer: Any.
        role: `pad`, `mask`, `unk`, `sep` or the like.
    """
    index = getattr(tokenizer, f"{role}_token_id")
    return None if index is None else int(index)
