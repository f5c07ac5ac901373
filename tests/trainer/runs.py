"""Trainings of seconds that the tests compare: the same seed, weights and rows, one thing changed."""

import torch
from transformers import TrainingArguments

from sgt_hf import SaliencyGuidedTrainer, SaliencyGuidedTrainingArguments
from tests.tiny import make_model, make_rows, make_tokenizer

# newer transformers renamed the setting and warns of the old name
CHECKPOINTING = next(
    name
    for name in ("activation_checkpointing", "gradient_checkpointing")
    if name in TrainingArguments.__dataclass_fields__
)
TERMS = ("loss", "sgt_ce", "sgt_kl", "sgt_flipped")
OF_THE_TRAINER = (
    *("compute_loss_func", "callbacks", "data_collator", "compute_metrics", "eval_dataset", "model_init", "adapter"),
)


def arguments(tmp_path, kind=SaliencyGuidedTrainingArguments, **changes):
    settings = {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": 4,
        "num_train_epochs": 2,
        "learning_rate": 1e-2,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 2,
        "disable_tqdm": True,
        "use_cpu": True,
        "optim": "sgd",
    }
    return kind(**settings | changes)


def built(
    tmp_path,
    trainer=SaliencyGuidedTrainer,
    *,
    family="bert",
    padding_side="right",
    rows=None,
    dropout=0.0,
    model=None,
    kind=SaliencyGuidedTrainingArguments,
    **changes,
):
    """A trainer of a tiny model whose weights are spread enough for masking to change its predictions."""
    tokenizer = make_tokenizer(family, padding_side=padding_side)
    extra = {"eval_dataset": make_rows(tokenizer, seed=1)}
    extra |= {name: changes.pop(name) for name in OF_THE_TRAINER if name in changes}
    if model is None and "model_init" not in extra:
        model = make_model(family, dropout=dropout, spread=0.5)
    return trainer(
        model=model,
        args=arguments(tmp_path, kind, **changes),
        train_dataset=make_rows(tokenizer) if rows is None else rows,
        processing_class=tokenizer,
        **extra,
    )


def trained(tmp_path, trainer=SaliencyGuidedTrainer, **changes):
    """Build, train and return the trainer."""
    result = built(tmp_path, trainer, **changes)
    result.train()
    return result


def weights(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def losses(trainer, name="loss"):
    return [entry[name] for entry in trainer.state.log_history if name in entry]
