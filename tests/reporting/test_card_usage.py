"""The lines of a card that load its model, run as they are."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from sgt_hf import SaliencyGuidedTrainer
from sgt_hf.adapters import TextAdapter
from sgt_hf.reporting import CardFacts
from sgt_hf.reporting.card_usage import usage
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import arguments, built


def run(lines, **known):
    names = dict(known)
    exec(lines, names)
    return names["model"]


def test_an_adapter_goes_onto_its_base_with_its_number_of_classes(tmp_path):
    base = make_model("bert", num_labels=2)
    base.base_model.save_pretrained(tmp_path / "base")  # without a head, as most bases on the hub
    torch.manual_seed(0)
    lora = LoraConfig(task_type="SEQ_CLS", target_modules=["query"])
    wrapped = get_peft_model(make_model("bert", num_labels=3), lora)
    trainer = built(tmp_path / "out", model=wrapped)
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    trainer.create_model_card()
    card = (tmp_path / "out" / "README.md").read_text()
    lines = card.partition("```python\n")[2].partition("```")[0]
    assert "pipeline" not in lines
    lines = lines.replace("path/to/the/base/model", str(tmp_path / "base"))
    model = run(lines.replace("path/to/this/folder", str(tmp_path / "adapter")))
    found, trained = model.state_dict(), trainer.model.state_dict()
    tuned = [name for name in trained if "lora" in name or "modules_to_save" in name]
    assert len(tuned) > 2
    assert all(torch.equal(found[name], trained[name]) for name in tuned)


class Net(nn.Module):
    """A plain module with its own way of being built."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask)


def test_a_plain_module_is_built_and_filled(tmp_path):
    tokenizer = make_tokenizer()
    net = Net(make_model("bert"))
    trainer = SaliencyGuidedTrainer(
        net,
        arguments(tmp_path),
        train_dataset=make_rows(tokenizer),
        adapter=TextAdapter(tokenizer, embedding="model.bert.embeddings.word_embeddings"),
    )
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    lines = (tmp_path / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert f"from {Net.__module__} import Net" in lines
    lines = lines.replace("path/to/this/folder", str(tmp_path)).replace("(...)", "(fresh)")
    model = run(lines, fresh=make_model("bert", spread=0.5))
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("adapter_of", [None, "somebody/base"])
def test_an_architecture_of_ours_is_registered_first(adapter_of):
    facts = {
        "architecture": "MnistCnnForImageClassification",
        "module": "sgt_hf.models.vision",
        "adapter_of": adapter_of,
    }
    lines = usage(CardFacts("x", task="image-classification", **facts))
    assert lines.startswith("import sgt_hf  # registers the architecture\nfrom ")


def test_a_class_of_the_script_is_not_imported_from_it():
    lines = usage(CardFacts("x", architecture="Net", module="__main__", plain_module=True))
    assert "from your_code import Net" in lines
