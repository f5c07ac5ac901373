"""A bidirectional LSTM classifier with the interface of a Hugging Face model.

It is the text network of Ismail et al. 2021 (section 4.2): word embeddings, usually GloVe, and one bidirectional LSTM.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .classifier import classification_loss, draw_as_torch_does, real_first, refuse_regression, take, within


class BiLstmConfig(PretrainedConfig):
    """Settings of `BiLstmForSequenceClassification`.

    Args:
        vocab_size: Rows of the embedding matrix.
        embedding_dim: Width of one word vector.
        hidden_size: Width of the LSTM's state, per direction.
        num_layers: Stacked bidirectional layers, at least 1.
        pooling: How a row's states become one vector: their elementwise `max` or `mean` over the row's own tokens, or
            `last`, the state each direction ends in.
        dropout: Probability in [0, 1), on the embeddings, between layers and on the pooled vector.
        initializer_range: Standard deviation of fresh embeddings. The LSTM and the output layer start as in torch.
        pad_token_id: Id whose embedding stays zero, and that counts as padding where no attention mask is given.

    Raises:
        ValueError: `pooling` is unknown, or the configuration asks for regression.
    """

    model_type = "bilstm"

    vocab_size: int = 30_000
    embedding_dim: int = 50
    hidden_size: int = 96
    num_layers: int = 1
    pooling: Literal["max", "mean", "last"] = "max"
    dropout: float = 0.2
    initializer_range: float = 0.4
    pad_token_id: int | None = 0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling={self.pooling!r} is unknown; choose one of {sorted(POOLINGS)}")
        refuse_regression(self, "BiLstmForSequenceClassification")


class BiLstmForSequenceClassification(PreTrainedModel):
    """Embedding, bidirectional LSTM, pooling over the row's own tokens, linear output.

    A row's logits depend on its own attended tokens alone: not on the amount or side of the padding, nor on the batch.
    """

    config_class = BiLstmConfig
    main_input_name = "input_ids"

    def __init__(self, config: BiLstmConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels or 2
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id)
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = nn.LSTM(
            config.embedding_dim,
            config.hidden_size,
            num_layers=config.num_layers,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
            bidirectional=True,
            batch_first=True,
        )
        self.classifier = nn.Linear(2 * config.hidden_size, self.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if not draw_as_torch_does(module):
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Embedding:
        """Give the word embedding."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Exchange the word embedding."""
        if not isinstance(value, nn.Embedding):
            raise TypeError(f"the word embedding is an nn.Embedding, not a {type(value).__name__}")
        self.embedding = value

    def load_embedding_matrix(self, matrix: Tensor) -> None:
        """Copy word vectors, as made by `sgt_hf.data.vectors.embedding_matrix`, into the embedding.

        Args:
            matrix: Shape (vocab_size, embedding_dim).

        Raises:
            ValueError: The shape is another one.
        """
        weight = self.embedding.weight
        if matrix.shape != weight.shape:
            raise ValueError(
                f"the matrix is {tuple(matrix.shape)}, the model's embedding {tuple(weight.shape)}; "
                "build the model with vocab_size, embedding_dim = matrix.shape"
            )
        with torch.no_grad():
            weight.copy_(matrix)

    # No **kwargs: transformers' Trainer would read them as "takes num_items_in_batch" and stop scaling the loss.
    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Classify a batch.

        Args:
            input_ids: Shape (B, L).
            attention_mask: Shape (B, L), non-zero for tokens to read, padded on either side; without it every id but
                `pad_token_id` is read. A row with nothing to read is read as its first position alone.
            labels: Class indices of shape (B,), or for several labels at once zeros and ones of shape (B, K): those
                are told by the config's `problem_type`, or where it is None by being floating-point, as elsewhere
                in transformers.

        Returns:
            `logits` of shape (B, K), and the mean `loss` where labels are given.
        """
        if attention_mask is None:
            attention_mask = input_ids != (-1 if self.config.pad_token_id is None else self.config.pad_token_id)
        hidden, lengths = real_first(self.dropout(self.embedding(input_ids)), attention_mask.to(torch.bool))
        # On CPU torch has no fast kernel for packed rows of different lengths: it takes 9 times as long as reading each
        # direction from its own end (16 rows of 150 to 600 words). On a GPU cuDNN takes packed rows as they are.
        run = run_one_way if hidden.device.type == "cpu" else run_packed
        pooled = POOLINGS[self.config.pooling](run(self.lstm, hidden, lengths), lengths)
        logits = self.classifier(self.dropout(pooled))
        loss = None if labels is None else classification_loss(self.config, logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def run_packed(lstm: nn.LSTM, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Run a bidirectional LSTM over right-padded rows, packed.

    Args:
        lstm: Bidirectional and batch first.
        inputs: Shape (B, L, D).
        lengths: Shape (B,), from 1 to L.

    Returns:
        The states of the last layer, (B, L, 2·H), forward half first; zero beyond a row's length.
    """
    packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=inputs.shape[1])
    return states


def run_one_way(lstm: nn.LSTM, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Do what `run_packed` does without packing: each direction alone, the second over rows turned round.

    A one-way LSTM never sees what comes after a token, so padding at the end cannot reach a row's own states.

    Args:
        lstm: As for `run_packed`.
        inputs: As for `run_packed`.
        lengths: As for `run_packed`.

    Returns:
        As `run_packed`, but with meaningless states beyond a row's length.
    """
    positions = torch.arange(inputs.shape[1], device=inputs.device)
    ends = lengths[:, None]
    turned = torch.where(positions < ends, ends - 1 - positions, positions)
    states = inputs
    for layer in range(lstm.num_layers):
        if layer > 0:
            states = nn.functional.dropout(states, lstm.dropout, lstm.training)
        forward = _one_direction(lstm, states, f"l{layer}")
        backward = _one_direction(lstm, take(states, turned), f"l{layer}_reverse")
        states = torch.cat([forward, take(backward, turned)], dim=-1)
    return states


def _one_direction(lstm: nn.LSTM, inputs: Tensor, suffix: str) -> Tensor:
    """Run one direction of one layer, named as nn.LSTM names its weights, over (B, L, D); returns (B, L, H)."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [getattr(lstm, f"{name}_{suffix}") for name in names]
    start = inputs.new_zeros(1, inputs.shape[0], lstm.hidden_size)
    return torch.lstm(inputs, (start, start), weights, True, 1, 0.0, lstm.training, False, True)[0]


def max_pooling(states: Tensor, lengths: Tensor) -> Tensor:
    """Take the elementwise maximum of (B, L, 2·H) over each row's own length; returns (B, 2·H)."""
    return states.masked_fill(~within(states, lengths), -torch.inf).amax(dim=1)


def mean_pooling(states: Tensor, lengths: Tensor) -> Tensor:
    """Take the mean of (B, L, 2·H) over each row's own length; returns (B, 2·H)."""
    return states.masked_fill(~within(states, lengths), 0.0).sum(dim=1) / lengths[:, None]


def last_pooling(states: Tensor, lengths: Tensor) -> Tensor:
    """Take the state each direction of (B, L, 2·H) ends in: at the last token and at the first; returns (B, 2·H)."""
    forward, backward = states.chunk(2, dim=-1)
    last = (lengths - 1)[:, None]
    return torch.cat([take(forward, last)[:, 0], backward[:, 0]], dim=-1)


POOLINGS = {"max": max_pooling, "mean": mean_pooling, "last": last_pooling}
