import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sgt_hf import SaliencyGuidedTrainer, SaliencyGuidedTrainingArguments
from sgt_hf.adapters import SeriesAdapter, adapter_for
from sgt_hf.adapters.series import collate_series
from sgt_hf.masking.dense import FILLS
from sgt_hf.models.series import SeriesLstmConfig, SeriesLstmForSeries

ROWS = [
    {"input_values": [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]], "labels": 1},
    {"input_values": np.array([[4.0, 40.0]]), "labels": 0},
]
ADAPTER = SeriesAdapter()


def batch():
    made = collate_series(ROWS)
    made.pop("labels")
    return made


def test_the_batch_on_paper():
    made = collate_series(ROWS)
    assert made["input_values"].tolist() == [[[1, 10], [2, 20], [3, 30]], [[4, 40], [0, 0], [0, 0]]]
    assert made["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert made["labels"].tolist() == [1, 0]
    assert made["labels"].dtype == torch.int64
    assert "attention_mask" not in collate_series(ROWS[:1])


def test_a_rows_own_mask_and_its_other_columns_are_kept():
    rows = [row | {"attention_mask": [1] * (len(row["input_values"]) - 1) + [0], "age": 30 + n, "name": "x"}
            for n, row in enumerate(ROWS)]  # fmt: skip
    made = collate_series(rows)
    assert made["attention_mask"].tolist() == [[1, 1, 0], [0, 0, 0]]
    assert made["age"].tolist() == [30, 31]
    assert "name" not in made
    assert collate_series(rows[:1])["attention_mask"].tolist() == [[1, 1, 0]]
    assert collate_series([ROWS[0] | {"attention_mask": [1, 1, 0]}, ROWS[1]])["attention_mask"].tolist() == [
        [1, 1, 0],
        [1, 0, 0],
    ]
    assert collate_series([{"input_values": [[1.0]], "label_ids": 1}])["labels"].tolist() == [1]
    with pytest.raises(ValueError, match="the column 'time' cannot be stacked"):
        collate_series([row | {"time": list(range(len(row["input_values"])))} for row in ROWS])
    rows[1]["attention_mask"] = [1, 1]
    with pytest.raises(
        ValueError, match=r"attention_mask of row 1 of the batch has shape \(2,\) and its series 1 steps"
    ):
        collate_series(rows)


def test_cells_are_features_and_padding_is_none():
    assert ADAPTER.feature_dim is None
    assert ADAPTER.eligible(batch()).tolist() == [[True] * 6, [True, True, False, False, False, False]]
    assert ADAPTER.sizes(batch()).tolist() == [3, 1]
    assert ADAPTER.groups(batch(), "token") is None


def drop_of(*cells):
    drop = torch.zeros(2, 3, 2, dtype=torch.bool)
    for cell in cells:
        drop[cell] = True
    return drop.flatten(1)


@pytest.mark.parametrize(
    ("masking", "expected"),
    [
        ("constant", [[1, 10], [0, 20], [3, 0]]),
        ("channel_mean", [[1, 10], [2, 20], [3, 20]]),
        ("previous", [[1, 10], [1, 20], [3, 20]]),
    ],
)
def test_single_cells_are_masked(masking, expected):
    made = batch()
    before = made["input_values"].clone()
    masked = ADAPTER.mask(made, drop_of((0, 1, 0), (0, 2, 1)), masking)
    assert masked["input_values"][0].tolist() == expected
    assert torch.equal(masked["input_values"][1], before[1])
    assert torch.equal(made["input_values"], before)


def test_random_values_lie_in_the_range_of_the_samples_own_feature():
    torch.manual_seed(0)
    made = {"input_values": torch.randn(4, 50, 3) * torch.tensor([1.0, 10.0, 100.0])}
    drop = torch.ones(4, 150, dtype=torch.bool)
    masked = ADAPTER.mask(made, drop, "uniform")["input_values"]
    low, high = made["input_values"].amin(1, keepdim=True), made["input_values"].amax(1, keepdim=True)
    assert ((masked >= low) & (masked <= high)).all()
    spread = (masked.amax(1, keepdim=True) - masked.amin(1, keepdim=True)) / (high - low)
    assert spread.min() > 0.7
    everywhere = SeriesAdapter(value_range=(-1.0, 2.0)).mask(made, drop, "uniform")["input_values"]
    assert -1 <= everywhere.min() < everywhere.max() <= 2


def test_padding_is_outside_the_range():
    """The second series is 4 and 40 alone: padding's zeros are not in its range."""
    masked = ADAPTER.mask(batch(), drop_of((1, 0, 0), (1, 0, 1)), "uniform")["input_values"]
    assert masked[1].tolist() == [[4, 40], [0, 0], [0, 0]]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.sampled_from(sorted(FILLS)))
def test_padding_is_never_changed_and_all_else_stays(lengths, masking):
    made = collate_series([{"input_values": torch.rand(length, 2)} for length in lengths])
    eligible = ADAPTER.eligible(made)
    drop = torch.rand(eligible.shape).lt(0.5) & eligible
    masked = ADAPTER.mask(made, drop, masking)["input_values"]
    kept = ~drop.view(made["input_values"].shape)
    assert torch.equal(masked[kept], made["input_values"][kept])
    assert masked.isfinite().all()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([[1.0, float("nan")]], r"row 1 of the batch is nan at step 0, channel 1: fill or leave out"),
        ([[1.0, 2.0], [float("-inf"), 0.0]], r"row 1 of the batch is -inf at step 1, channel 0"),
        (np.zeros((0, 2)), r"row 1 of the batch has shape \(0, 2\)"),
        ([1.0, 2.0], r"row 1 of the batch has shape \(2,\); a series is \(steps, channels\)"),
        ([[1.0, 2.0], [1.0]], "row 1 of the batch is no table of numbers"),
        ([["a", "b"]], "row 1 of the batch is no table of numbers"),
        ([[1.0]], "row 1 of the batch has 1 channels and that of row 0 has 2"),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(ValueError, match=message):
        collate_series([ROWS[0], {"input_values": row}])


def test_wrong_shapes_and_settings_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 3\); a batch of series is \(batch, steps, channels\)"):
        ADAPTER.eligible({"input_values": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match="unknown masking 'blank' for a time series"):
        ADAPTER.check(masking="blank", granularity="token")
    with pytest.raises(ValueError, match="granularity 'word' is for text; for a time series"):
        ADAPTER.check(masking="uniform", granularity="word")


def test_the_adapter_follows_from_the_models_main_input():
    model = SeriesLstmForSeries(SeriesLstmConfig(num_features=2))
    assert isinstance(adapter_for(model, None), SeriesAdapter)
    model.main_input_name = "past_values"  # an instance's own, as in transformers' time-series models
    assert adapter_for(model, None).main_input == "past_values"


class Pooled(nn.Module):
    """A model of the user's own: another name of its input, no labels, BatchNorm inside."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.head = nn.BatchNorm1d(2), nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.norm(x.transpose(1, 2)).amax(2))


@pytest.mark.parametrize("masking", sorted(FILLS))
def test_a_plain_module_trains_in_the_trainer(tmp_path, masking):
    source = np.random.default_rng(0)
    rows = [{"x": source.standard_normal((5, 2)) + label, "labels": label} for label in (0, 1) * 8]
    trainer = SaliencyGuidedTrainer(
        model=Pooled(),
        args=SaliencyGuidedTrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=6,
            learning_rate=0.1,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            sgt_masking=masking,
            logging_steps=1,
        ),
        train_dataset=rows,
        adapter=SeriesAdapter("x"),
    )
    trainer.train()
    kl = [entry["sgt_kl"] for entry in trainer.state.log_history if "sgt_kl" in entry]
    assert max(kl) > 0
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]


def test_unequal_lengths_train_in_the_trainer(tmp_path):
    torch.manual_seed(0)
    source = np.random.default_rng(0)
    rows = [
        {"input_values": source.standard_normal((3 + i % 4, 2)).astype(np.float32), "labels": i % 2} for i in range(12)
    ]
    model = SeriesLstmForSeries(SeriesLstmConfig(num_features=2))
    before = model.classifier.weight.clone()
    arguments = SaliencyGuidedTrainingArguments(
        output_dir=str(tmp_path), max_steps=3, report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True
    )
    SaliencyGuidedTrainer(model=model, args=arguments, train_dataset=rows).train()
    assert not torch.equal(model.classifier.weight, before)


@pytest.mark.gpu
def test_an_rnn_on_cudnn_is_ranked_without_leaving_train_mode():
    model = SeriesLstmForSeries(SeriesLstmConfig(num_features=2)).cuda().train()
    values = torch.randn(2, 4, 2, device="cuda")
    labels = torch.tensor([0, 1], device="cuda")
    scores = ADAPTER.scores(model, {"input_values": values}, labels, target="label", reduction="auto")
    assert scores.isfinite().all()
    assert model.lstm.training


def test_the_collator_can_be_sent_to_workers_and_takes_labels_of_any_integers():
    collate = pickle.loads(pickle.dumps(SeriesAdapter("x").collator()))
    rows = [{"x": [[1.0]], "labels": np.uint8(1)}, {"x": [[2.0]], "labels": np.uint8(0)}]
    assert collate(rows)["labels"].dtype == torch.int64
    assert collate([row | {"labels": np.array([0.0, 1.0])} for row in rows])["labels"].shape == (2, 2)


def test_a_model_may_change_its_input_in_place():
    class Centred(nn.Module):
        def forward(self, x):
            x -= x.mean(1, keepdim=True)
            return torch.stack([x.square().sum((1, 2)), x[:, 0, 0]], dim=1)

    x = torch.tensor([[[1.0], [3.0], [5.0]]])
    scores = SeriesAdapter("x").scores(Centred(), {"x": x}, torch.tensor([0]), target="label", reduction="signed_sum")
    assert scores.tolist() == [pytest.approx([-4.0, 0.0, 4.0])]  # 2 (x − mean)
    assert x.flatten().tolist() == [1, 3, 5]
