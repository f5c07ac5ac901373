"""The lines of a card that load its model, run as they are."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification

from sgt_hf import SaliencyGuidedTrainer
from sgt_hf.adapters import TextAdapter
from sgt_hf.reporting import CardFacts, model_card
from sgt_hf.reporting.card_usage import usage
from sgt_hf.reporting.trainer_facts import card_facts
from tests.tiny import make_model, make_rows, make_tokenizer
from tests.trainer.runs import arguments, built


def lines_of(folder):
    return (folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0]


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
    lines = lines_of(tmp_path / "out")
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
    lines = lines_of(tmp_path)
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


@pytest.mark.parametrize("module", ["__main__", "transformers_modules.somebody.m.modeling", None])
@pytest.mark.parametrize("plain_module", [True, False])
def test_a_class_that_nobody_can_import_is_of_your_code(module, plain_module):
    lines = usage(CardFacts("x", architecture="Net", module=module, plain_module=plain_module))
    assert "from your_code import Net" in lines


@pytest.mark.parametrize(
    ("changes", "loading"),
    [
        ({}, "Loading needs neither `trust_remote_code` nor a pickle."),
        ({"module": "sgt_hf.models.bilstm"}, "Loading needs neither `trust_remote_code` nor a pickle."),
        (
            {"module": "mine.models"},
            "Loading needs the code that defines MyForSequenceClassification, and neither `trust_remote_code` nor a",
        ),
        (
            {"module": "transformers_modules.somebody.m.modeling", "auto_class": "AutoModelForSequenceClassification"},
            "Loading runs code that is not in transformers, for which it needs `trust_remote_code`: read that code",
        ),
    ],
)
def test_the_card_says_what_loading_needs(changes, loading):
    facts = {"architecture": "MyForSequenceClassification", "module": "transformers.models.my"} | changes
    assert loading in str(model_card(CardFacts("x", task="text-classification", **facts)))


class OwnForSequenceClassification(BertForSequenceClassification):
    """Of a user's own module, which no Auto class knows."""


def test_a_class_of_the_users_module_is_imported_from_it(tmp_path):
    torch.manual_seed(0)
    trainer = built(tmp_path, model=OwnForSequenceClassification(make_model("bert").config))
    trainer.save_model()
    trainer.create_model_card()
    lines = lines_of(tmp_path)
    assert "pipeline" not in lines
    model = run(lines.replace("path/to/this/folder", str(tmp_path)))
    assert type(model) is OwnForSequenceClassification
    assert torch.equal(model.classifier.weight, trainer.model.classifier.weight)


MODELING = """
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

class MyConfig(BertConfig):
    model_type = "my_bert_of_test_card_usage"

class MyForSequenceClassification(BertForSequenceClassification):
    config_class = MyConfig
"""


def test_code_of_the_repository_is_loaded_by_its_auto_class(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    source = tmp_path / "source"
    make_model("bert").save_pretrained(source)
    (source / "modeling.py").write_text(MODELING, encoding="utf-8")
    config = json.loads((source / "config.json").read_text())
    config["model_type"] = "my_bert_of_test_card_usage"
    config["auto_map"] = {
        "AutoConfig": "modeling.MyConfig",
        "AutoModelForSequenceClassification": "modeling.MyForSequenceClassification",
    }
    (source / "config.json").write_text(json.dumps(config))
    model = AutoModelForSequenceClassification.from_pretrained(source, trust_remote_code=True)
    trainer = built(tmp_path / "out", model=model)
    trainer.save_model()
    trainer.create_model_card()
    lines = lines_of(tmp_path / "out")
    found = run(lines.replace("path/to/this/folder", str(tmp_path / "out")))
    assert type(found).__name__ == "MyForSequenceClassification"
    assert "needs `trust_remote_code`" in (tmp_path / "out" / "README.md").read_text()


def test_a_repository_keeps_its_name_beside_a_folder_that_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me" / "m").mkdir(parents=True)
    facts = CardFacts("x", repo_id="me/m", base_model="me/m", adapter_of="me/m", task="text-classification")
    lines = usage(facts)
    assert 'PeftModel.from_pretrained(base, "me/m")' in lines
    assert 'from_pretrained("path/to/the/base/model")' in lines
    assert model_card(facts).data.base_model is None


def test_a_sharded_model_is_called_by_its_own_class(tmp_path):
    trainer, model = built(tmp_path), make_model("bert")
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        fully_shard(model, mesh=distributed.init_device_mesh("cpu", (1,)))
        facts = card_facts(trainer, model)
    finally:
        distributed.destroy_process_group()
    assert (facts.architecture, facts.task) == ("BertForSequenceClassification", "text-classification")
    assert facts.module == "transformers.models.bert.modeling_bert"


def test_a_base_of_code_of_its_own_is_not_loaded_by_an_auto_class():
    facts = {"architecture": "MyForSequenceClassification", "adapter_of": "me/base", "task": "text-classification"}
    own = usage(CardFacts("x", module="mine.models", **facts))
    assert "from mine.models import MyForSequenceClassification\n" in own
    auto = {"module": "transformers_modules.x", "auto_class": "AutoModelForTokenClassification"}
    remote = usage(CardFacts("x", **auto, **facts))
    assert 'base = AutoModelForTokenClassification.from_pretrained("me/base", trust_remote_code=True)' in remote
