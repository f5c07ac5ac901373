"""What cannot work is refused when the trainer is built, with the way out."""

from contextlib import nullcontext

import pytest
from accelerate import ParallelismConfig
from torch import nn
from transformers import (
    FNetConfig,
    FNetForSequenceClassification,
    GPT2LMHeadModel,
    ReformerConfig,
    ReformerForSequenceClassification,
    TrainingArguments,
    WhisperConfig,
    WhisperForAudioClassification,
)

from sgt_hf import SaliencyGuidedTrainer, SeriesAdapter
from tests.adapters.test_embedding import big_bird
from tests.tiny import make_model, make_tokenizer
from tests.trainer.launching import launch
from tests.trainer.runs import CHECKPOINTING, arguments

REENTRANT = {CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"use_reentrant": True}}


def build(tmp_path, model=None, **changes):
    return SaliencyGuidedTrainer(
        model=model or make_model(), args=arguments(tmp_path, **changes), processing_class=make_tokenizer()
    )


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ({"num_labels": 1}, {}, "this is a regression .*use transformers.Trainer, or set num_labels ≥ 2"),
        ({"problem_type": "regression"}, {}, "this is a regression"),
        ({}, {"sgt_masking": "blank"}, "unknown masking 'blank'"),
        ({}, {"sgt_granularity": "sentence"}, "unknown granularity 'sentence'"),
        ({}, REENTRANT, "does not support reentrant gradient checkpointing: set 'use_reentrant' to False"),
    ],
)
def test_models_and_knobs(tmp_path, config, changes, message):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, make_model(**config), **changes)


def test_tokens_that_the_embedding_has_no_row_for(tmp_path):
    tokenizer, settings = make_tokenizer(), arguments(tmp_path, sgt_masking="random")
    tokenizer.add_tokens([f"new{n}" for n in range(9)])
    with pytest.raises(ValueError, match="masking 'random', which puts in token ids up to 27, with an embedding of 24"):
        SaliencyGuidedTrainer(make_model(), settings, processing_class=tokenizer)
    model = make_model()
    model.resize_token_embeddings(len(tokenizer))
    SaliencyGuidedTrainer(model, settings, processing_class=tokenizer)


def test_a_plain_module_without_a_tokenizer_or_adapter(tmp_path):
    message = r"Linear has no main_input_name, .*: for series pass adapter=SeriesAdapter.*, for images .*ImageAdapter"
    with pytest.raises(ValueError, match=message):
        SaliencyGuidedTrainer(model=nn.Linear(2, 2), args=arguments(tmp_path))


def test_an_adapter_of_another_input(tmp_path):
    message = (
        r"SeriesAdapter ranks 'input_values', and the forward of Linear takes \['input'\]: .* SeriesAdapter\('x'\)"
    )
    with pytest.raises(ValueError, match=message):
        SaliencyGuidedTrainer(model=nn.Linear(2, 2), args=arguments(tmp_path), adapter=SeriesAdapter())
    SaliencyGuidedTrainer(model=nn.Linear(2, 2), args=arguments(tmp_path), adapter=SeriesAdapter("input"))


def test_models_that_generate(tmp_path):
    """Their labels are the next tokens, and their loss shifts them."""
    model = GPT2LMHeadModel(make_model("gpt2").config)
    with pytest.raises(ValueError, match="does not support GPT2LMHeadModel, which generates text: take a classifier"):
        build(tmp_path, model)


def test_models_compiled_in_place(tmp_path):
    model = make_model()
    model.compile(backend="eager")
    with pytest.raises(ValueError, match=r"a model compiled in place, .*: leave it eager and set torch_compile=True"):
        build(tmp_path, model)


def test_reversible_layers(tmp_path):
    """Their backward writes to every `.grad`, ranking's included."""
    sizes = {"attn_layers": ["local"], "hidden_size": 8, "num_attention_heads": 2, "feed_forward_size": 8}
    config = ReformerConfig(
        **sizes, attention_head_size=4, axial_pos_embds=False, vocab_size=24, num_labels=2, max_position_embeddings=64
    )
    with pytest.raises(ValueError, match="ReformerForSequenceClassification, whose reversible layers add to the grad"):
        build(tmp_path, ReformerForSequenceClassification(config))


def test_deletion_from_block_sparse_attention(tmp_path):
    with pytest.raises(ValueError, match="masking 'delete' with block-sparse attention, which BigBird gives up"):
        build(tmp_path, big_bird(), sgt_masking="delete")
    model = big_bird()
    model.bert.set_attention_type("original_full")
    build(tmp_path, model, sgt_masking="delete")
    build(tmp_path, big_bird(), sgt_masking="unk")


class WithoutMask(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(24, 4), nn.Linear(4, 2)

    def forward(self, input_ids, labels=None):
        return {"logits": self.head(self.words(input_ids).mean(1))}


def test_deletion_where_padding_would_be_read(tmp_path):
    with pytest.raises(ValueError, match="'delete' with WithoutMask, whose forward takes no attention_mask"):
        build(tmp_path, WithoutMask(), sgt_masking="delete")
    build(tmp_path, WithoutMask(), sgt_masking="unk")


def test_reentrant_checkpointing_that_the_model_was_told(tmp_path):
    model = make_model()
    enable = getattr(model, f"{CHECKPOINTING}_enable")
    enable({"use_reentrant": True})
    with pytest.raises(ValueError, match="does not support reentrant gradient checkpointing"):
        build(tmp_path, model)
    enable({"use_reentrant": False})
    build(tmp_path, model)
    build(tmp_path, model, **{CHECKPOINTING: True})


def test_checkpointing_that_is_reentrant_by_default(tmp_path):
    """Which is torch's, and what PEFT's preparation for training in few bits leaves it at."""
    model = make_model()
    enable = getattr(model, f"{CHECKPOINTING}_enable")
    enable({})
    with pytest.raises(ValueError, match="does not support reentrant gradient checkpointing"):
        build(tmp_path, model)
    getattr(model, f"{CHECKPOINTING}_disable")()
    build(tmp_path, model)
    settings = {CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"preserve_rng_state": False}}
    with pytest.raises(ValueError, match="does not support reentrant gradient checkpointing"):
        build(tmp_path, make_model(), **settings)
    build(tmp_path, make_model(), **{CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"every_n_layers": 2}})


def test_deletion_from_a_model_that_reads_no_mask(tmp_path):
    narrow = {"hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 24}
    with pytest.raises(ValueError, match="'delete' with FNetForSequenceClassification, whose forward takes no attent"):
        build(tmp_path, FNetForSequenceClassification(FNetConfig(**narrow)), sgt_masking="delete")
    own = type("Own", (FNetForSequenceClassification,), {})
    with pytest.raises(ValueError, match="'delete' with Own, whose forward takes no attention_mask"):
        build(tmp_path, own(FNetConfig(**narrow)), sgt_masking="delete")


def test_deepspeed(tmp_path):
    """Where deepspeed is not installed, `TrainingArguments` itself refuses; so it is set afterwards."""
    args = arguments(tmp_path, TrainingArguments)
    args.deepspeed = {"zero_optimization": {"stage": 2}}
    with pytest.raises(ValueError, match=r"not support DeepSpeed, whose engine owns the backward .*: use DDP, or FSDP"):
        SaliencyGuidedTrainer(model=make_model(), args=args, processing_class=make_tokenizer())


@pytest.mark.parametrize("optimizer", ["galore_adamw_layerwise", "adalomo"])
def test_optimizers_that_step_in_the_backward_have_one_a_step(tmp_path, optimizer):
    build(tmp_path, optim=optimizer)
    with pytest.raises(ValueError, match=f"sgt_save_memory with optim='{optimizer}', which steps in every backward"):
        build(tmp_path, optim=optimizer, sgt_save_memory=True)
    build(tmp_path, optim=optimizer, sgt_save_memory=True, sgt_kl_weight=0.0)


@pytest.mark.parametrize("sums", [False, True])
def test_gradients_that_every_backward_sums_over_processes(tmp_path, sums):
    model = make_model("llama")
    model._tp_plan = {"layers.*.self_attn.q_norm": "replicated_with_grad_allreduce" if sums else "colwise"}
    trainer = build(tmp_path, model, sgt_save_memory=True)
    trainer.accelerator.state.parallelism_config = ParallelismConfig(tp_size=2)
    try:
        with pytest.raises(ValueError, match="sgt_save_memory under tensor par") if sums else nullcontext():
            trainer._check()
    finally:
        trainer.accelerator.state.parallelism_config = None


def test_a_static_graph_of_one_process_which_no_ddp_wraps(tmp_path):
    build(tmp_path, ddp_static_graph=True)


def test_context_parallelism(tmp_path):
    trainer = build(tmp_path)
    trainer.accelerator.state.parallelism_config = ParallelismConfig(cp_size=2)
    try:
        with pytest.raises(ValueError, match="context or sequence parallelism, where a process sees a part of each"):
            trainer._check()
    finally:
        trainer.accelerator.state.parallelism_config = None


PROCESSES = """
import sys
import pytest
from accelerate.state import AcceleratorState
from tests.trainer.runs import built

with pytest.raises(ValueError, match="2 processes of which TrainingArguments sees 1: each would train alone: set use_"):
    built(sys.argv[1], use_cpu=False)
built(sys.argv[1], ddp_static_graph=True, sgt_kl_weight=0.0)
with pytest.raises(ValueError, match="does not support ddp_static_graph=True, .*: leave it out"):
    built(sys.argv[1], ddp_static_graph=True)
AcceleratorState._reset_state(reset_partial_state=True)
with pytest.raises(ValueError, match="FSDP by accelerate on cpu .*plain DDP here.*: load the model sharded"):
    built(sys.argv[1], fsdp=True)
print("refused\\n", end="", flush=True)  # one write, so that the processes' lines stay apart
"""


@pytest.mark.slow
@pytest.mark.multiprocess
def test_what_several_processes_on_the_cpu_cannot_be(tmp_path):
    """A training each, or plain DDP where sharding was asked for; both without a word."""
    assert launch(tmp_path, PROCESSES, tmp_path).split() == ["refused", "refused"]


def test_audio_whose_steps_are_the_last_axis_is_refused(tmp_path):
    narrow = {"d_model": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "decoder_layers": 1, "vocab_size": 24}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    model = WhisperForAudioClassification(WhisperConfig(num_mel_bins=4, **narrow, **ids))
    with pytest.raises(ValueError, match="WhisperForAudioClassification, whose steps are the last axis of its input"):
        SaliencyGuidedTrainer(model, arguments(tmp_path))


def test_texts_that_were_not_encoded_are_named(tmp_path):
    rows = [{"document": ["good", "film"], "label": 1}] * 4
    trainer = SaliencyGuidedTrainer(
        make_model(), arguments(tmp_path), train_dataset=rows, processing_class=make_tokenizer()
    )
    with pytest.raises(
        ValueError, match=r"no 'input_ids' \(they have \['document', 'label'\]\): encode the texts first"
    ):
        trainer.train()
