"""What the cost is measured on: models of a size, with random weights, and full batches for them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sgt_hf import BiLstmConfig, BiLstmForSequenceClassification
from sgt_hf.data.vocabulary import build_word_tokenizer
from sgt_hf.models.vision import (
    MnistCnnConfig,
    MnistCnnForImageClassification,
    TorchvisionConfig,
    TorchvisionForImageClassification,
)

VOCABULARY = 30_000
IMAGES = ("mnist_cnn", "resnet18")
# (model, tokens of a text) → samples a step that two CPU cores can bear; one on an accelerator may well be larger
BATCH_SIZES = {
    ("bilstm", 128): 16,
    ("bilstm", 512): 16,
    ("minilm", 128): 16,
    ("minilm", 512): 4,
    ("bert-base", 128): 4,
    ("bert-base", 512): 1,
    ("mnist_cnn", None): 64,
    ("resnet18", None): 32,
}


def batch_size_of(model: str, length: int | None, given: int | None) -> int:
    """Return the samples a step: as given, or a size for the model.

    Raises:
        ValueError: None is given, and none is known for this model and length.
    """
    size = given or BATCH_SIZES.get((model, length))
    if size is None:
        raise ValueError(f"no batch size is known for {model!r} at {length} tokens: pass --batch-size")
    return size


def make_model(name: str) -> PreTrainedModel:
    """Build a model of the named size, or load a folder of a text classifier."""
    torch.manual_seed(0)
    if name == "bilstm":
        return BiLstmForSequenceClassification(BiLstmConfig(vocab_size=VOCABULARY, num_labels=2))
    if name == "minilm":
        layers = {"num_hidden_layers": 6, "num_attention_heads": 12}
        return BertForSequenceClassification(BertConfig(hidden_size=384, intermediate_size=1536, **layers))
    if name == "bert-base":
        return BertForSequenceClassification(BertConfig())
    if name == "mnist_cnn":
        return MnistCnnForImageClassification(MnistCnnConfig(num_labels=10))
    if name == "resnet18":
        config = TorchvisionConfig(architecture="resnet18", small_images=True, num_labels=10)
        return TorchvisionForImageClassification(config)
    return AutoModelForSequenceClassification.from_pretrained(name, num_labels=2)


def make_tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer of as many words as the models have embeddings."""
    return build_word_tokenizer([[f"w{i}" for i in range(VOCABULARY - 4)]])


def make_batch(name: str, size: int, length: int | None) -> dict[str, torch.Tensor]:
    """Return full-length random texts, or images: no padding, so that every mode has all of the work."""
    generator = torch.Generator().manual_seed(0)
    if name in IMAGES:
        shape = (1, 28, 28) if name == "mnist_cnn" else (3, 32, 32)
        labels = torch.randint(10, (size,), generator=generator)
        return {"pixel_values": torch.randn(size, *shape, generator=generator), "labels": labels}
    assert length is not None
    ids = torch.randint(10, VOCABULARY, (size, length), generator=generator)
    labels = torch.randint(2, (size,), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def knobs_for(name: str, knobs: dict[str, Any]) -> dict[str, Any] | None:
    """Return a mode's knobs, or None where the mode is not for this kind of model: images are not shortened."""
    return None if name in IMAGES and knobs.get("sgt_masking") == "delete" else knobs
