"""Half precision: ranking and KL stay in float32, and the loss is within 1e-2 of float32's."""

import pytest
import torch
from transformers import DataCollatorWithPadding

from sgt_hf import TextAdapter, evaluate_faithfulness, saliency_guided_loss
from sgt_hf.modes import evaluating, measuring
from sgt_hf.saliency import input_gradient, reduce_scores, target_outputs
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import losses, trained, weights


def parts(family):
    """The pure loss of a batch, and the scores it ranked by."""
    tokenizer, model = make_tokenizer(family), make_model(family, spread=0.5)
    adapter, batch = TextAdapter(tokenizer), dict(DataCollatorWithPadding(tokenizer)(list(make_rows(tokenizer))))
    with adapter.capture(model, batch) as captured:
        logits = model(**captured.batch).logits
    gradient = input_gradient(target_outputs(logits, batch["labels"]), captured.features)
    scores = reduce_scores(gradient, captured.features)
    inputs = {name: column for name, column in batch.items() if name != "labels"}
    loss = saliency_guided_loss(
        logits,
        None,
        batch["labels"],
        lambda drop: model(**adapter.mask(inputs, drop, "unk" if family == "bert" else "random")).logits,
        eligible=adapter.eligible(batch),
        scores=scores,
    )
    loss.total.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    return loss, scores


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_ranking_and_divergence_are_float32(dtype):
    exact, exact_scores = parts("bert")
    with torch.autocast("cpu", dtype):
        half, scores = parts("bert")
    assert half.logits.dtype == dtype
    assert scores.dtype == half.kl.dtype == half.ce.dtype == half.total.dtype == torch.float32
    correlation = torch.corrcoef(torch.stack([exact_scores.flatten(), scores.flatten()]))[0, 1]
    assert correlation > 0.99
    assert half.total.item() == pytest.approx(exact.total.item(), abs=1e-2)


def test_bfloat16_autocast_is_near_float32(tmp_path):
    exact, half = trained(tmp_path), trained(tmp_path, bf16=True)
    assert losses(half) == pytest.approx(losses(exact), abs=1e-2)
    assert losses(half, "sgt_kl") == pytest.approx(losses(exact, "sgt_kl"), abs=1e-2)


def test_what_is_measured_after_bfloat16_is_of_the_weights_as_they_are_saved(tmp_path):
    trainer = trained(tmp_path, model=make_model(spread=0.5), bf16=True)
    again = make_model()
    again.load_state_dict(trainer.model.state_dict())
    tokenizer = make_tokenizer()
    rows, asked = make_rows(tokenizer), {"methods": ["gradient"], "random_draws": 1, "batch_size": 4, "progress": False}
    report = trainer.evaluate_faithfulness(rows, **asked)
    loaded = evaluate_faithfulness(again, rows, tokenizer, **asked)
    with trainer.accelerator.autocast():
        half = trainer.evaluate_faithfulness(rows, **asked)
    assert report.full.tolist() == loaded.full.tolist() != half.full.tolist()
    assert report["gradient"].comprehensiveness.tolist() == loaded["gradient"].comprehensiveness.tolist()
    with pytest.raises(KeyError), measuring(trainer.model):
        raise KeyError
    batch = DataCollatorWithPadding(tokenizer)(list(rows))
    with torch.no_grad(), evaluating(trainer.model), evaluating(again):  # training goes on under autocast
        assert not torch.equal(trainer.model(**batch).logits, again(**batch).logits)


@pytest.mark.gpu
def test_float16_with_a_gradient_scaler_is_near_float32(tmp_path):
    exact = trained(tmp_path, use_cpu=False)
    half = trained(tmp_path, use_cpu=False, fp16=True)
    assert half.accelerator.scaler is not None
    assert losses(half) == pytest.approx(losses(exact), abs=1e-2)
    assert losses(half, "sgt_kl") == pytest.approx(losses(exact, "sgt_kl"), abs=1e-2)


@pytest.mark.gpu
def test_the_gradient_scaler_passes_over_a_step_that_overflows(tmp_path):
    """What float32 would raise for."""
    calls = []

    def overflowing(outputs, labels, num_items_in_batch=None):
        calls.append(len(calls))
        loss = torch.nn.functional.cross_entropy(outputs["logits"].float(), labels)
        return loss * (1e38 if len(calls) == 1 else 1.0)

    model = make_model(spread=0.5)
    trainer = trained(tmp_path, model=model, use_cpu=False, fp16=True, compute_loss_func=overflowing)
    assert len(calls) == trainer.state.global_step == 8
    assert torch.isfinite(weights(trainer)).all()
