"""Tests of the BiLSTM classifier."""

import inspect

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

from sgt_hf import explain
from sgt_hf.models import BiLstmConfig, BiLstmForSequenceClassification
from sgt_hf.models.bilstm import last_pooling, max_pooling, mean_pooling, run_one_way, run_packed
from tests.tiny import make_tokenizer

IDS = torch.tensor([[5, 6, 7, 8, 9], [3, 4, 2, 0, 0], [9, 0, 0, 0, 0]])
LENGTHS = torch.tensor([5, 3, 1])
MASK = (torch.arange(5) < LENGTHS[:, None]).long()


def build(seed=0, **settings):
    set_seed(seed)
    defaults = {"vocab_size": 12, "embedding_dim": 4, "hidden_size": 3, "num_labels": 3}
    return BiLstmForSequenceClassification(BiLstmConfig(**defaults | settings)).eval()


variants = pytest.mark.parametrize("num_layers", [1, 2])
poolings = pytest.mark.parametrize("pooling", ["max", "mean", "last"])


def test_poolings_on_paper():
    states = torch.tensor([[[1.0, 8.0], [3.0, 6.0], [9.0, 9.0]], [[-1.0, -2.0], [9.0, 9.0], [9.0, 9.0]]])
    lengths = torch.tensor([2, 1])
    assert max_pooling(states, lengths).tolist() == [[3.0, 8.0], [-1.0, -2.0]]
    assert mean_pooling(states, lengths).tolist() == [[2.0, 7.0], [-1.0, -2.0]]
    assert last_pooling(states, lengths).tolist() == [[3.0, 8.0], [-1.0, -2.0]]


@variants
def test_reading_each_direction_alone_equals_packing(num_layers):
    lstm = build(num_layers=num_layers, dropout=0.0).lstm.train()
    inputs = torch.randn(3, 5, 4, requires_grad=True)
    results = []
    for run in (run_packed, run_one_way):
        states = run(lstm, inputs, LENGTHS) * MASK[:, :, None]
        gradients = torch.autograd.grad(states.square().sum(), [inputs, *lstm.parameters()])
        results.append((states, *gradients))
    for packed, one_way in zip(*results, strict=True):
        torch.testing.assert_close(packed, one_way)


@variants
@poolings
def test_agrees_with_torch_one_row_at_a_time(num_layers, pooling):
    model = build(num_layers=num_layers, pooling=pooling)
    logits = model(IDS, MASK).logits
    for row, length in enumerate(LENGTHS.tolist()):
        states, (final, _) = model.lstm(model.embedding(IDS[row : row + 1, :length]))
        ends = torch.cat([final[-2], final[-1]], dim=-1)
        pooled = {"max": states.amax(1), "mean": states.mean(1), "last": ends}[pooling]
        torch.testing.assert_close(logits[row], model.classifier(pooled)[0])


@poolings
def test_padding_and_neighbours_do_not_matter(pooling):
    model = build(pooling=pooling)
    with torch.no_grad():
        model.embedding.weight[0] = 5.0  # so that reading padding would show
    logits = model(IDS, MASK).logits
    left = torch.stack([row.roll(5 - length) for row, length in zip(IDS, LENGTHS.tolist(), strict=True)])
    torch.testing.assert_close(model(left, MASK.flip(1)).logits, logits)
    torch.testing.assert_close(model(left).logits, logits)  # the mask follows from the padding id
    wider = torch.cat([IDS, torch.full((3, 4), 7)], dim=1)
    torch.testing.assert_close(model(wider, torch.cat([MASK, torch.zeros(3, 4).long()], dim=1)).logits, logits)
    torch.testing.assert_close(model(IDS[1:2, :3], MASK[1:2, :3]).logits, logits[1:2])


def test_only_attended_tokens_have_a_gradient():
    model = build()
    embedded = []
    model.embedding.register_forward_hook(lambda module, arguments, output: embedded.append(output))
    (gradient,) = torch.autograd.grad(model(IDS, MASK).logits.sum(), embedded)
    assert torch.equal((gradient != 0).any(dim=-1), MASK.bool())


@poolings
def test_rows_without_tokens_are_legal(pooling):
    model = build(pooling=pooling)
    logits = model(IDS, MASK * torch.tensor([[1], [0], [1]])).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[[0, 2]], model(IDS, MASK).logits[[0, 2]])


def test_losses_on_paper():
    model = build()
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.zero_()
    assert model(IDS, MASK).loss is None
    assert model(IDS, MASK, labels=torch.tensor([0, 1, 2])).loss.item() == pytest.approx(1.0986123)  # log 3
    model.config.problem_type = None
    assert model(IDS, MASK, labels=torch.ones(3, 3)).loss.item() == pytest.approx(0.6931472)  # log 2
    model.config.problem_type = "multi_label_classification"
    assert model(IDS, MASK, labels=torch.ones(3, 3).long()).loss.item() == pytest.approx(0.6931472)


def test_what_the_first_labels_are_is_kept_as_transformers_own_models_do():
    """Without it several labels would be explained, and piped, as if one of them held."""
    for labels, problem in (([[1.0, 0.0]], "multi_label_classification"), ([1], "single_label_classification")):
        model = BiLstmForSequenceClassification(BiLstmConfig(vocab_size=9, embedding_dim=4, hidden_size=3))
        assert model.config.problem_type is None
        model(input_ids=torch.tensor([[5, 6]]), labels=torch.tensor(labels))
        assert model.config.problem_type == problem
    with pytest.raises(ValueError, match=r"labels are floats, .* is 'single_label_classification', .*: give class ind"):
        model(input_ids=torch.tensor([[5, 6]]), labels=torch.tensor([[1.0, 0.0]]))
    tokenizer = make_tokenizer()
    model = BiLstmForSequenceClassification(BiLstmConfig(vocab_size=len(tokenizer), embedding_dim=4, hidden_size=3))
    model(input_ids=torch.tensor([[5, 6]]), labels=torch.tensor([[1.0, 1.0]]))
    with pytest.raises(ValueError, match="multi_label"):
        explain(model, tokenizer, "good film")


def test_same_seed_same_weights():
    first, second, other = build(3).state_dict(), build(3).state_dict(), build(4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    assert first["embedding.weight"][0].eq(0).all()


@variants
def test_saving_and_loading_keeps_weights_and_logits(tmp_path, num_layers):
    model = build(num_layers=num_layers, pooling="mean", pad_token_id=1)
    with torch.no_grad():
        model.embedding.weight[1] = 2.0  # a trained padding row, to see that loading does not zero it
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    set_seed(99)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, BiLstmForSequenceClassification)
    assert loaded.config.pooling == "mean"
    assert all(torch.equal(weight, loaded.state_dict()[name]) for name, weight in model.state_dict().items())
    assert torch.equal(loaded(IDS, MASK).logits, model(IDS, MASK).logits)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), BiLstmConfig)


def test_missing_output_layer_is_drawn_afresh_and_nothing_else(tmp_path):
    model = build(num_labels=2)
    model.save_pretrained(tmp_path)
    loaded = BiLstmForSequenceClassification.from_pretrained(tmp_path, num_labels=4, ignore_mismatched_sizes=True)
    assert loaded.classifier.weight.shape == (4, 6)
    assert 0 < loaded.classifier.weight.abs().max() <= 6**-0.5
    assert torch.equal(loaded.lstm.weight_ih_l0_reverse, model.lstm.weight_ih_l0_reverse)
    assert torch.equal(loaded.embedding.weight, model.embedding.weight)


def test_embeddings_can_be_set():
    model = build()
    matrix = torch.randn(12, 4)
    model.load_embedding_matrix(matrix)
    assert torch.equal(model.get_input_embeddings().weight, matrix)
    assert model.get_input_embeddings().weight.requires_grad
    replacement = nn.Embedding(20, 4)
    model.set_input_embeddings(replacement)
    assert model.get_input_embeddings() is replacement


def test_the_trainer_is_not_told_that_it_takes_loss_arguments():
    kinds = [
        parameter.kind for parameter in inspect.signature(BiLstmForSequenceClassification.forward).parameters.values()
    ]
    assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_dropout_acts_in_training_only():
    model = build(num_layers=2, dropout=0.5)
    assert torch.equal(model(IDS, MASK).logits, model(IDS, MASK).logits)
    model.train()
    assert not torch.equal(model(IDS, MASK).logits, model(IDS, MASK).logits)


def test_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="pooling='sum' is unknown; choose one of"):
        BiLstmConfig(pooling="sum")
    with pytest.raises(ValueError, match="num_labels=1 is a regression"):
        BiLstmConfig(num_labels=1)
    with pytest.raises(ValueError, match="problem_type='regression'"):
        BiLstmConfig(problem_type="regression")
    assert BiLstmConfig(num_labels=1, problem_type="multi_label_classification").num_labels == 1
    with pytest.raises(ValueError, match=r"matrix is \(5, 4\), the model's embedding \(12, 4\)"):
        build().load_embedding_matrix(torch.zeros(5, 4))
    with pytest.raises(TypeError, match="not a Linear"):
        build().set_input_embeddings(nn.Linear(2, 2))


@pytest.mark.gpu
def test_cpu_and_gpu_agree():
    model = build(num_layers=2)
    logits = model(IDS, MASK).logits
    on_gpu = model.to("cuda")(IDS.cuda(), MASK.cuda()).logits.cpu()
    torch.testing.assert_close(on_gpu, logits, rtol=1e-4, atol=1e-5)
