import pytest
from transformers import HfArgumentParser, TrainingArguments

from sgt_hf import PRESETS, SaliencyGuidedArguments, SaliencyGuidedTrainingArguments
from sgt_hf.training_args import knobs_of


def test_defaults_are_those_of_the_documentation(tmp_path):
    knobs = knobs_of(TrainingArguments(output_dir=str(tmp_path)))
    assert (knobs.sgt_mask_fraction, knobs.sgt_kl_weight, knobs.sgt_masking) == (0.5, 1.0, "auto")
    assert (knobs.sgt_reduction, knobs.sgt_target, knobs.sgt_ranking) == ("auto", "label", "shared")
    assert (knobs.sgt_drops, knobs.sgt_vary_fraction, knobs.sgt_detach_target) == ("lowest", False, False)
    assert (knobs.sgt_granularity, knobs.sgt_warmup_ratio, knobs.sgt_every_n_steps) == ("token", 0.0, 1)


def test_the_presets(tmp_path):
    """The paper's is what the defaults are; the text one differs from it in three knobs, the image one in one."""
    assert SaliencyGuidedArguments(**PRESETS["paper"]) == SaliencyGuidedArguments()
    args = SaliencyGuidedTrainingArguments(output_dir=str(tmp_path), **PRESETS["text"])
    assert (args.sgt_masking, args.sgt_mask_fraction, args.sgt_vary_fraction) == ("delete", 1.0, True)
    assert args.sgt_reduction == "auto"
    preset = SaliencyGuidedArguments(**PRESETS["image"])
    assert preset == SaliencyGuidedArguments(sgt_detach_target=True, sgt_every_n_steps=2)


def test_the_parser_of_transformers_reads_the_knobs(tmp_path):
    command = ["--output_dir", str(tmp_path), "--sgt_mask_fraction", "0.6", "--sgt-masking", "delete", "--seed", "3"]
    (args,) = HfArgumentParser(SaliencyGuidedTrainingArguments).parse_args_into_dataclasses(command)
    assert (args.sgt_mask_fraction, args.sgt_masking, args.seed) == (0.6, "delete", 3)
    assert knobs_of(args) is args


def test_kl_weight_over_the_steps():
    knobs = SaliencyGuidedArguments(sgt_kl_weight=2.0, sgt_warmup_ratio=0.5, sgt_every_n_steps=2)
    # 8 steps, warm-up over 4: 0, –, 1/2·2, –, 2, –, 2, –
    assert [knobs.kl_weight_at(step, 8) for step in range(8)] == [0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"sgt_mask_fraction": 1.1}, r"sgt_mask_fraction must be in \[0, 1\], got 1.1"),
        ({"sgt_kl_weight": -0.1}, "sgt_kl_weight must be ≥ 0, got -0.1"),
        ({"sgt_kl_weight": float("nan")}, "sgt_kl_weight must be ≥ 0, got nan"),
        ({"sgt_reduction": "mean"}, "sgt_reduction must be one of .*signed_sum.*, got 'mean'"),
        ({"sgt_target": "gold"}, r"sgt_target must be one of \['label', 'predicted'\], got 'gold'"),
        ({"sgt_ranking": "twice"}, r"sgt_ranking must be one of \['shared', 'separate'\], got 'twice'"),
        ({"sgt_drops": "most"}, r"sgt_drops must be one of \['lowest', 'random', 'highest'\], got 'most'"),
        ({"sgt_warmup_ratio": 1.0}, r"sgt_warmup_ratio must be in \[0, 1\), got 1.0"),
        ({"sgt_every_n_steps": 0}, "sgt_every_n_steps must be an integer ≥ 1, got 0"),
        ({"sgt_every_n_steps": 1.5}, "sgt_every_n_steps must be an integer ≥ 1, got 1.5"),
        ({"sgt_mask_fraction": "0.5"}, "sgt_mask_fraction must be a number, got '0.5'"),
    ],
)
def test_a_knob_outside_its_range_is_refused(knob, message):
    with pytest.raises(ValueError, match=message):
        SaliencyGuidedArguments(**knob)
