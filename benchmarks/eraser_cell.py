"""One cell of the ERASER benchmark: train a model, pick its epoch on validation, measure its explanations on test."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    set_seed,
)

from benchmarks.eraser_measures import aopc_of, maps_of, normalized, per_example
from benchmarks.eraser_sample import text_sample
from benchmarks.eraser_settings import SELECTIONS, Cell
from benchmarks.eraser_texts import count_measured, documents_of, normalized_of
from sgt_hf import (
    BiLstmConfig,
    BiLstmForSequenceClassification,
    FaithfulnessReport,
    SaliencyGuidedTrainer,
    SaliencyGuidedTrainingArguments,
)
from sgt_hf.attribution import AttributionSettings
from sgt_hf.data.rationales import encode_words, query_varies
from sgt_hf.data.vectors import embedding_matrix, load_word_vectors, token_coverage
from sgt_hf.data.vocabulary import build_word_tokenizer

EMBEDDING_DIM = 50  # of the BiLSTM without pretrained vectors


class OnEpochEnd(TrainerCallback):
    """Calls a function after every training epoch."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See `TrainerCallback`."""
        self.call()


def run(cell: Cell, data: DatasetDict, on_epoch: Callable[[], Any]) -> dict[str, Any]:
    """Train and measure.

    Args:
        cell: What to do.
        data: Train, validation and test of `load_eraser`.
        on_epoch: Called after every epoch.

    Returns:
        JSON-able results.
    """
    set_seed(cell.seed)
    count = count_measured(cell, data[cell.split])
    to_normalize = normalized_of(cell, data[cell.split])
    tokenizer, model, facts = build(cell, data)
    with_query = query_varies(data["train"])
    encoded = encode(cell, data, tokenizer, with_query=with_query)
    facts["truncated_words"] = {name: int(sum(split["truncated_words"])) for name, split in encoded.items()}
    with tempfile.TemporaryDirectory() as checkpoints:
        trainer = make_trainer(cell, model, tokenizer, encoded, checkpoints, on_epoch)
        started = time.perf_counter()
        trainer.train()
        trained = time.perf_counter()
    history = {
        name: [entry[f"eval_{name}"] for entry in trainer.state.log_history if f"eval_{name}" in entry]
        for name in SELECTIONS
    }
    best = np.argmax(history["accuracy"]) if cell.select == "accuracy" else np.argmin(history["loss"])
    rows = encoded[cell.split].select(range(count))
    report, measured = measure(cell, trainer, rows, to_normalize)
    shown = data[cell.split].select(range(count))
    facts |= {
        "seconds": {"train": trained - started, "evaluation": time.perf_counter() - trained},
        "validation": history,
        "epoch": int(best) + 1,
        "log_history": trainer.state.log_history,
        "documents": documents_of(shown),
        "text_sample": text_sample(report, shown, rows["truncated_words"], with_query=with_query),
    }
    return facts | measured


def encode(
    cell: Cell, data: DatasetDict, tokenizer: PreTrainedTokenizerBase, *, with_query: bool
) -> dict[str, Dataset]:
    """Return every split's features, cut at the cell's length."""
    limit = min(cell.max_length, tokenizer.model_max_length)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="max_length=")  # counted, and kept in the cell
        return {
            name: encode_words(split, tokenizer, max_length=limit, use_query=with_query) for name, split in data.items()
        }


def measure(
    cell: Cell, trainer: SaliencyGuidedTrainer, rows: Dataset, to_normalize: range
) -> tuple[FaithfulnessReport, dict[str, Any]]:
    """Measure faithfulness by every method; by another operator, by the gradient's size, and normalised.

    In the precision of the training.

    Args:
        cell: What to measure, and how.
        trainer: Of the trained model.
        rows: Encoded, of the split that is measured.
        to_normalize: Positions of the rows whose AOPC is normalised.

    Returns:
        The report, and JSON-able results.
    """
    how = {"convention": cell.convention, "progress": False}
    how["settings"] = AttributionSettings(steps=cell.ig_steps, samples=cell.smooth_grad_samples)

    def evaluated(rows: Dataset, methods: Sequence[str], **more: Any) -> FaithfulnessReport:
        with trainer.accelerator.autocast():
            return trainer.evaluate_faithfulness(rows, methods=methods, **how | {"operator": cell.operator} | more)

    report = evaluated(rows, cell.methods, random_draws=cell.random_draws)
    absolute = evaluated(rows, ["gradient"], reduction="abs_sum", random_draws=1)
    values = per_example(report) | {"gradient, absolute": aopc_of(absolute, "gradient")}
    if cell.second_operator:
        second = evaluated(rows, cell.methods, operator=cell.second_operator, random_draws=cell.random_draws)
        values |= {f"{method}, {cell.second_operator}": aopc_of(second, method) for method in second.methods}
    found = {"summary": report.summary(), "per_example": values, "maps": maps_of(report)}
    if to_normalize:
        some = rows.select(to_normalize)
        found["normalized"] = normalized(evaluated(some, cell.methods, random_draws=1, normalize=cell.normalize))
    return report, found


def dropouts_of(model: str, share: float) -> dict[str, float]:
    """Return every dropout that a model's configuration names, set to one share.

    Raises:
        ValueError: If it names none.
    """
    config = AutoConfig.from_pretrained(model)
    names = [name for name, value in config.to_dict().items() if "drop" in name and type(value) in (float, int)]
    if not names:
        raise ValueError(f"The configuration of {model} names no dropout: leave --dropout out.")
    return dict.fromkeys(names, share)


def build(cell: Cell, data: DatasetDict) -> tuple[PreTrainedTokenizerBase, PreTrainedModel, dict[str, Any]]:
    """Return tokenizer and model with the seed's initial weights, and what is to be recorded of them."""
    labels = data["train"].features["label"].names
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    if cell.model != "bilstm":
        tokenizer = AutoTokenizer.from_pretrained(cell.model)
        how: dict[str, Any] = {"attn_implementation": cell.attn_implementation} if cell.attn_implementation else {}
        if cell.dropout is not None:
            how |= dropouts_of(cell.model, cell.dropout)
        return tokenizer, AutoModelForSequenceClassification.from_pretrained(cell.model, **how, **names), {}
    texts = data["train"]["document"][:] + data["train"]["query"][:]
    tokenizer = build_word_tokenizer(texts, model_max_length=cell.max_length)
    facts: dict[str, Any] = {"vocabulary": len(tokenizer)}
    matrix, dim = None, EMBEDDING_DIM
    if cell.embeddings:
        vectors = load_word_vectors(cell.embeddings)
        matrix, facts["vocabulary_coverage"] = embedding_matrix(tokenizer, vectors)
        facts["token_coverage"] = token_coverage(data["test"]["document"], vectors)
        dim = matrix.shape[1]
    shape = {"embedding_dim": dim, "hidden_size": cell.hidden_size, "pooling": cell.pooling, "dropout": cell.dropout}
    model = BiLstmForSequenceClassification(BiLstmConfig(vocab_size=len(tokenizer), **shape, **names))
    if matrix is not None:
        model.load_embedding_matrix(matrix)
    return tokenizer, model, facts


def make_trainer(
    cell: Cell,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: dict[str, Any],
    checkpoints: str,
    on_epoch: Callable[[], Any],
) -> SaliencyGuidedTrainer:
    """Build the trainer of either arm; plain is λ = 0, which equals `transformers.Trainer` (tests/test_trainer.py)."""
    bilstm = cell.model == "bilstm"
    args = SaliencyGuidedTrainingArguments(
        output_dir=checkpoints,
        seed=cell.seed,
        data_seed=cell.seed,
        num_train_epochs=cell.epochs,
        per_device_train_batch_size=cell.batch_size,
        per_device_eval_batch_size=2 * cell.batch_size,
        learning_rate=cell.learning_rate,
        bf16=cell.bf16,
        use_cpu=not torch.cuda.is_available(),  # Trainer asks for it before bfloat16 on a CPU
        lr_scheduler_type="constant" if bilstm else "linear",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model=cell.select,
        greater_is_better=cell.select == "accuracy",
        logging_strategy="epoch",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        **cell.knobs,
    )
    trainer = SaliencyGuidedTrainer(
        model=model,
        args=args,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        processing_class=tokenizer,
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
        callbacks=[OnEpochEnd(on_epoch)],
    )
    trainer.remove_callback(PrinterCallback)  # the benchmark has a bar of its own
    return trainer
