"""Text: ranks the embedding module's output, masks token ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from ..data.collators import DataCollatorWithWordIds
from ..masking.text import FILLS, NEEDS_TOKEN, STRATEGIES, TokenFacts
from .base import Adapter, Batch, Captured, Masking, takes
from .embedding import TokenOrder, find_embedding, first_call_hook
from .special_tokens import special_ids, token_id
from .token_columns import changes, refuse_deletion, stacked, token_columns, trimmed

GRANULARITIES = ("token", "word")


class TextAdapter(Adapter):
    """Adapter of any sequence classifier over `input_ids`: encoder or decoder, single texts or pairs.

    Never masked: padding, special tokens, query tokens (`word_ids` of −1) and tokens marked in a `protected`
    column. A pair's parts are told apart by `segment_ids`, `token_type_ids` and the special tokens between them.

    Args:
        tokenizer: Of the model; says which ids are special and what [UNK], [SEP], [MASK] and padding are.
        embedding: Name of the embedding submodule, for models without `get_input_embeddings`.

    Raises:
        ValueError: There is no tokenizer.
    """

    extra_columns = ("word_ids", "segment_ids", "protected", "special_tokens_mask")
    default_masking = "previous_salient"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, embedding: str | None = None) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ValueError(
                "TextAdapter needs the tokenizer, to know special tokens and padding: "
                f"pass processing_class=tokenizer (got {type(tokenizer).__name__})"
            )
        self.tokenizer = tokenizer
        self.embedding = embedding
        self.special_ids = special_ids(tokenizer)
        vocabulary = torch.arange(len(tokenizer))
        self._ordinary = vocabulary[~torch.isin(vocabulary, torch.tensor(sorted(self.special_ids)))]
        self._order = TokenOrder()
        self._device_copies: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def capture(self, model: nn.Module, batch: Batch) -> Iterator[Captured]:
        """See `Adapter.capture`; frozen embeddings are made to require grad on the way out."""
        captured = Captured(self.model_inputs(batch))
        module, ids = self.embedding_module(model), batch["input_ids"]

        def keep(seen: Any, output: Tensor) -> Tensor:
            self._order.look(module, seen, ids)
            features = self._order.features(module, output, ids.shape[1])
            captured.features = features if features.requires_grad else features.detach().requires_grad_()
            # The model may change what it is handed in place, which a leaf forbids.
            handed = captured.features.clone() if captured.features.is_leaf else captured.features
            return self._order.output(module, handed, output)

        with first_call_hook(module, keep):
            yield captured

    @contextmanager
    def replace(self, model: nn.Module, features: Tensor) -> Iterator[None]:
        """See `Adapter.replace`; position and token type embeddings are added as always."""
        module = self.embedding_module(model)

        def use(_: Any, output: Tensor) -> Tensor:  # a copy, which the model may change in place
            return self._order.output(module, features.to(output.dtype, copy=True), output)

        with first_call_hook(module, use):
            yield

    def embedding_module(self, model: nn.Module) -> nn.Module:
        """Return the module whose output is ranked, see `find_embedding`."""
        return find_embedding(model, self.embedding)

    def eligible(self, batch: Batch) -> Tensor:
        """Return (B, L) bool: real tokens that are neither special, nor of the query, nor protected."""
        free = self._real(batch) & ~self._special(batch)
        if "word_ids" in batch:
            free = free & (batch["word_ids"] >= 0)
        if "protected" in batch:
            free = free & (batch["protected"] == 0)
        return free

    def groups(self, batch: Batch, granularity: str) -> Tensor | None:
        """Return (B, L) the word of each token, numbered along the row, or None for single tokens.

        Raises:
            ValueError: Words are asked for and the batch has no `word_ids`.
        """
        if granularity == "token":
            return None
        if "word_ids" not in batch:
            raise ValueError(
                "granularity 'word' needs a word_ids column, and the batch has "
                f"{sorted(batch)}: encode with sgt_hf.data.rationales.encode_words and collate with "
                "sgt_hf.data.collators.DataCollatorWithWordIds, or use granularity 'token'"
            )
        words, segments = batch["word_ids"], self._segments(batch, self._special(batch))
        starts = changes(words) | changes(segments) | (words < 0)
        return starts.long().cumsum(1) - 1

    def mask(self, batch: Batch, drop: Tensor, masking: Masking, *, granularity: str = "token") -> Batch:
        """See `Adapter.mask`; a callable gets (batch, drop) and returns the new batch."""
        if not isinstance(masking, str):
            return masking(dict(batch), drop)
        columns = token_columns(batch)
        if masking == "delete":
            refuse_deletion(batch)
            columns.setdefault("attention_mask", self._real(batch).long())
        return dict(batch) | STRATEGIES[masking](columns, drop, self._facts(batch, granularity))

    def check(self, *, masking: Masking, granularity: str) -> None:
        """See `Adapter.check`."""
        if granularity not in GRANULARITIES:
            raise ValueError(f"unknown granularity {granularity!r} for text: use one of {GRANULARITIES}")
        if not isinstance(masking, str):
            return
        if masking not in STRATEGIES:
            raise ValueError(f"unknown masking {masking!r} for text: use one of {sorted(STRATEGIES)} or a callable")
        possible = self.maskings()
        if masking not in possible:
            name = self.tokenizer.name_or_path or type(self.tokenizer).__name__
            raise ValueError(f"tokenizer {name!r} has no {masking} token of its own: masking can be one of {possible}")

    def maskings(self) -> list[str]:
        """Return the names of the strategies that this tokenizer has the tokens for."""
        padding = token_id(self.tokenizer, "pad")  # which as a word would move a decoder's last token
        missing = {role for role in NEEDS_TOKEN if token_id(self.tokenizer, role) in (None, padding)}
        if self.tokenizer.unk_token_id in self.special_ids:  # GPT-2's [UNK] is its end of text, and often its padding
            missing.add("unk")
        return sorted(set(STRATEGIES) - missing)

    def unfit(self, model: nn.Module, masking: str) -> Iterator[tuple[str, str]]:
        """Yield what keeps a model from reading texts under a masking, and the way out.

        Args:
            model: Unwrapped.
            masking: One of `maskings`.
        """
        name, config = type(model).__name__, getattr(model, "config", None)
        if masking == "delete" and not takes(model, "attention_mask"):
            yield (
                f"masking 'delete' with {name}, whose forward takes no attention_mask and so would read the padding",
                "give it the argument attention_mask=None, or use another masking",
            )
        highest, rows = self._highest_id(masking), self._rows_of(model)
        if rows is not None and highest is not None and highest >= rows:
            yield (
                f"masking {masking!r}, which puts in token ids up to {highest}, with an embedding of {rows} rows",
                "call model.resize_token_embeddings(len(tokenizer)), or use another masking",
            )
        at_end = self.tokenizer.sep_token_id == getattr(config, "eos_token_id", None)
        if masking == "sep" and at_end and getattr(config, "is_encoder_decoder", False):
            role = self.tokenizer.sep_token
            yield f"masking 'sep' with {name}, which reads its prediction at {role!r}", "use another masking"

    def _rows_of(self, model: nn.Module) -> int | None:
        try:
            return getattr(self.embedding_module(model), "num_embeddings", None)
        except ValueError:  # which is told when it is to be ranked
            return None

    def _highest_id(self, masking: str) -> int | None:
        """The highest token id that a masking may put in; None where it puts in none of its own choice."""
        if masking == "random":
            return int(self._ordinary.max()) if len(self._ordinary) else None
        return token_id(self.tokenizer, masking) if masking in NEEDS_TOKEN else None

    def sizes(self, batch: Batch) -> Tensor:
        """Return (B,) the tokens of each text, padding not counted."""
        return self._real(batch).sum(1)

    def stack(self, batches: Sequence[Batch]) -> Batch:
        """Return one batch of all texts, padded to the longest; columns of no tokens are joined as they are.

        Raises:
            ValueError: A column is of another shape in another batch; names it.
        """
        return stacked(batches, self.fills, pad_left=self._pads_left)

    def take(self, batch: Batch, rows: Tensor) -> Batch:
        """Return the texts at `rows`, without the padding at the end that all of them have (left: at the start)."""
        chosen = {name: column[rows] for name, column in batch.items()}
        return trimmed(chosen, self._real(chosen), pad_left=self._pads_left)

    def baseline_features(self, model: nn.Module, name: str, features: Tensor, eligible: Tensor) -> Tensor:
        """Embed one special token, as an attribution's baseline.

        Args:
            model: The model.
            name: The role of the token: `pad`, `mask`, `unk` or `sep`.
            features: (B, L, D) whose shape and dtype are taken.
            eligible: Of no use here: the vector does not depend on the text.

        Returns:
            (B, L, D), the same vector everywhere.

        Raises:
            ValueError: The tokenizer has no such token, or the embedding no row for it.
        """
        index = token_id(self.tokenizer, name)
        if index is None:
            raise ValueError(f"the tokenizer has no {name} token to make a baseline of: use baseline 'zero'")
        rows = self._rows_of(model)
        if rows is not None and index >= rows:
            raise ValueError(
                f"the {name} token has the id {index} and the embedding {rows} rows: call "
                "model.resize_token_embeddings(len(tokenizer)), or use baseline 'zero'"
            )
        vector = self.embedding_module(model)(torch.tensor([index], device=features.device))
        return vector.detach().to(features.dtype).expand_as(features)

    def collator(self) -> DataCollatorWithWordIds:
        """Return a collator that pads texts and keeps their `word_ids` and other token columns."""
        return DataCollatorWithWordIds(self.tokenizer)

    def _real(self, batch: Batch) -> Tensor:
        if "attention_mask" in batch:
            return batch["attention_mask"].bool()
        pad = self.tokenizer.pad_token_id
        ids = batch["input_ids"]
        return torch.ones_like(ids, dtype=torch.bool) if pad is None else ids != pad

    def _special(self, batch: Batch) -> Tensor:
        if "special_tokens_mask" in batch:
            return batch["special_tokens_mask"].bool()
        is_special = self._on(batch["input_ids"].device)[0]
        return is_special[batch["input_ids"].clamp(max=len(is_special) - 1)]

    @staticmethod
    def _segments(batch: Batch, special: Tensor) -> Tensor:
        """(B, L) a number that grows at every special token and wherever a segment column changes, (B, L, …) any."""
        starts = special
        for name in ("segment_ids", "token_type_ids"):
            if name in batch:
                starts = starts | changes(batch[name]).reshape(*special.shape, -1).any(-1)
        return starts.long().cumsum(1)

    @property
    def fills(self) -> dict[str, int]:
        """What padding holds in each token column; 0 in those not named."""
        return defaultdict(int, FILLS | {"input_ids": token_id(self.tokenizer, "pad") or 0})

    @property
    def _pads_left(self) -> bool:
        return self.tokenizer.padding_side == "left"

    def _facts(self, batch: Batch, granularity: str) -> TokenFacts:
        ids, real, groups = batch["input_ids"], self._real(batch), self.groups(batch, granularity)
        special = self._special(batch)
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        roles = {role: token_id(self.tokenizer, role) for role in NEEDS_TOKEN}
        known = {role: index for role, index in roles.items() if index is not None}
        return TokenFacts(
            real=real,
            source=real & ~special,
            segments=self._segments(batch, special),
            groups=positions if groups is None else groups,
            ordinary=self._on(ids.device)[1],
            token_ids=known,
            fills=self.fills,
            pad_left=self._pads_left,
        )

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Which ids are special, by id with a False after the last, and the ordinary ids; copied to a device once."""
        if device not in self._device_copies:
            # A table and not `isin`, which for many ids sorts, and then waits for the device.
            is_special = torch.zeros(max({len(self.tokenizer), *self.special_ids}) + 2, dtype=torch.bool)
            is_special[sorted(self.special_ids)] = True
            self._device_copies[device] = (is_special.to(device), self._ordinary.to(device))
        return self._device_copies[device]
