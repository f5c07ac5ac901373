"""Tokenizers and models of a few thousand parameters, built offline, one of each family that differs."""

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForSequenceClassification,
)

WORDS = ["good", "bad", "film", "plot", "actor", "the", "a", "not", "very", "dull", "great", "##ly", "##ness", "un"]
ROLES = {
    "bert": {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    "roberta": {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
    "gpt2": {"eos_token": "<end>", "pad_token": "<end>", "bos_token": "<end>", "unk_token": "<end>"},
    "t5": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
}
SAME_TOKENIZER = {"llama": "gpt2", "qwen": "gpt2", "bart": "roberta"}
TEMPLATES = {
    "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    "roberta": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "gpt2": ("$A", "$A $B"),
    "t5": ("$A </s>", "$A </s> $B </s>"),
}


def make_tokenizer(family="bert", *, padding_side="right"):
    """A WordPiece tokenizer over `WORDS` with the family's special tokens and templates; RoBERTa's padding is id 1."""
    family = SAME_TOKENIZER.get(family, family)
    roles = dict(ROLES[family])
    if family == "roberta":
        roles |= {"cls_token": "<s>", "sep_token": "</s>"}
    specials = list(dict.fromkeys(ROLES[family].values()))
    vocabulary = {token: index for index, token in enumerate([*specials, *WORDS])}
    backend = Tokenizer(WordPiece(vocabulary, unk_token=roles["unk_token"]))
    backend.pre_tokenizer = WhitespaceSplit()
    single, pair = TEMPLATES[family]
    used = [(token, vocabulary[token]) for token in specials]
    backend.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=used)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if family == "bert" else [])]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=names, padding_side=padding_side, model_max_length=32, **roles
    )


def make_model(family="bert", *, num_labels=2, dropout=0.0, seed=0, spread=None, **config):
    """A model of the family with one layer of width 8 and seeded weights.

    Weights as small as the family's default make every input look the same: `spread`, their standard deviation, of
    0.5 or so gives predictions that masking changes.
    """
    torch.manual_seed(seed)
    shared = {"vocab_size": 24, "num_labels": num_labels, **config}
    if spread is not None:
        shared[{"bart": "init_std", "t5": "initializer_factor"}.get(family, "initializer_range")] = spread
    drop = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    narrow = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    if family == "bert":
        return BertForSequenceClassification(BertConfig(**shared, **narrow, **drop, max_position_embeddings=40))
    if family == "roberta":
        ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        return RobertaForSequenceClassification(
            RobertaConfig(**shared, **narrow, **drop, **ids, max_position_embeddings=40, type_vocab_size=1)
        )
    if family == "distilbert":
        return DistilBertForSequenceClassification(
            DistilBertConfig(
                **shared, dim=8, n_layers=1, n_heads=2, hidden_dim=16, dropout=dropout, attention_dropout=dropout
            )
        )
    if family == "bert_tokens":
        return BertForTokenClassification(BertConfig(**shared, **narrow, **drop, max_position_embeddings=40))
    if family == "bart":
        return _bart(shared, dropout)
    if family == "t5":
        ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
        sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
        return T5ForSequenceClassification(T5Config(**shared, **sizes, **ids, dropout_rate=dropout))
    if family in ("llama", "qwen"):
        kept = {name: narrow[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
        ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
        shared |= kept | ends | {"intermediate_size": 16, "attention_dropout": dropout}
        if family == "llama":
            return LlamaForSequenceClassification(LlamaConfig(**shared))
        return Qwen3ForSequenceClassification(Qwen3Config(**shared, num_key_value_heads=2, head_dim=4))
    small = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 40, "bos_token_id": 0, "eos_token_id": 0}
    drop = {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
    return GPT2ForSequenceClassification(GPT2Config(**shared, **small, **drop, pad_token_id=0))


def _bart(shared, dropout):
    sides = {"layers": 1, "attention_heads": 2, "ffn_dim": 16}
    both = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()}
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    drop = {"dropout": dropout, "attention_dropout": dropout, "classifier_dropout": dropout}
    return BartForSequenceClassification(
        BartConfig(**shared, **both, **ids, **drop, d_model=8, max_position_embeddings=40, forced_eos_token_id=2)
    )


def make_rows(tokenizer, count=16, *, seed=0, pairs=False, longest=8):
    """Features of random texts whose label is whether `good` occurs; lengths differ."""
    generator = torch.Generator().manual_seed(seed)

    def text():
        size = int(torch.randint(2, longest, (1,), generator=generator))
        return [WORDS[i] for i in torch.randint(11, (size,), generator=generator).tolist()]

    rows = []
    for _ in range(count):
        first, second = " ".join(text()), " ".join(text()) if pairs else None
        rows.append(dict(tokenizer(first, second)) | {"labels": int("good" in first)})
    return Dataset.from_list(rows)
