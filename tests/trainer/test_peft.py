"""LoRA: only adapters move, and what is saved loads."""

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model

from tests.tiny import make_model
from tests.trainer.runs import CHECKPOINTING, losses, trained

TARGETS = {"bert": ["query", "value"], "gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"]}
EMBEDDINGS = {"bert": "word_embeddings", "gpt2": "wte", "llama": "embed_tokens"}


def adapted(family, **changes):
    torch.manual_seed(0)
    settings = {"task_type": "SEQ_CLS", "r": 2, "target_modules": TARGETS[family], "fan_in_fan_out": family == "gpt2"}
    return get_peft_model(make_model(family, spread=0.5), LoraConfig(**settings | changes))


def state(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("family", "ranking"), [("bert", "shared"), ("bert", "separate"), ("gpt2", "shared"), ("llama", "shared")]
)
def test_only_the_adapters_change_and_the_saved_one_loads(tmp_path, family, ranking):
    model = adapted(family)
    before = state(model)
    assert not model.get_input_embeddings().weight.requires_grad
    trainer = trained(tmp_path, family=family, model=model, sgt_ranking=ranking, learning_rate=0.1)
    after = state(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert moved
    assert moved <= trainable
    assert any("lora_" in name for name in moved)
    assert all(value > 0 for value in losses(trainer, "sgt_kl"))
    trainer.save_model(str(tmp_path / "saved"))
    loaded = PeftModel.from_pretrained(make_model(family, spread=0.5), str(tmp_path / "saved"))
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    inputs = {name: column for name, column in batch.items() if name != "labels"}
    model.eval()
    assert torch.allclose(loaded.eval()(**inputs).logits, model(**inputs).logits, atol=1e-6)


def test_frozen_embeddings_rank_as_trainable_ones_do(tmp_path):
    """LoRA's first step, its B still zero, has the loss of the whole model: to 1e-6."""
    settings = {"family": "llama", "max_steps": 1, "logging_steps": 1}
    whole = trained(tmp_path, **settings)
    for ranking in ("shared", "separate"):
        lora = trained(tmp_path, model=adapted("llama"), sgt_ranking=ranking, **settings)
        for name in ("loss", "sgt_kl", "sgt_flipped"):
            assert losses(lora, name) == pytest.approx(losses(whole, name), abs=1e-6), name


@pytest.mark.parametrize("changes", ["modules_to_save", "target_modules"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_embeddings_that_peft_wraps_are_ranked(tmp_path, family, changes):
    name = EMBEDDINGS[family]
    head = "classifier" if family == "bert" else "score"
    settings = {"modules_to_save": [name, head]} if changes == "modules_to_save" else {}
    if changes == "target_modules":
        settings = {"target_modules": [*TARGETS[family], name]}
    model = adapted(family, **settings)
    before = state(model)
    trainer = trained(tmp_path, family=family, model=model, max_steps=2, logging_steps=1, learning_rate=0.1)
    moved = {name for name, value in state(model).items() if not torch.equal(before[name], value)}
    assert any(name in moved_name for moved_name in moved)
    assert not any("base_layer" in moved_name or "original_module" in moved_name for moved_name in moved)
    assert all(value > 0 for value in losses(trainer, "sgt_kl"))


def test_a_tuned_prompt_stands_before_the_ranked_words(tmp_path):
    settings = {"task_type": "SEQ_CLS", "num_virtual_tokens": 3}
    model = get_peft_model(make_model("llama", spread=0.5), PromptTuningConfig(**settings))
    before = state(model)
    trainer = trained(tmp_path, family="llama", model=model, max_steps=2, logging_steps=1, learning_rate=0.1)
    moved = {name for name, value in state(model).items() if not torch.equal(before[name], value)}
    assert any("prompt_encoder" in name for name in moved)
    assert not any("embed_tokens" in name for name in moved)
    assert all(value > 0 for value in losses(trainer, "sgt_kl"))


def test_gradient_checkpointing_of_a_frozen_model_changes_nothing(tmp_path):
    settings = {"family": "llama", "max_steps": 2}
    plain = trained(tmp_path, model=adapted("llama"), **settings)
    checkpointed = trained(tmp_path, model=adapted("llama"), **settings, **{CHECKPOINTING: True})
    for name, value in state(plain.model).items():
        assert torch.allclose(value, state(checkpointed.model)[name], atol=1e-6), name
