"""FSDP2, full shard, two processes over gloo: the same loss curve as one process, and a checkpoint that one loads."""

import inspect
import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, Trainer

from tests.tiny import make_model
from tests.trainer.launching import launch
from tests.trainer.runs import TERMS, losses, trained, weights

pytestmark = [pytest.mark.slow, pytest.mark.multiprocess, pytest.mark.timeout(600)]
SHARDED_AT_LOADING = "is_distributed_loading_by_transformers" in inspect.getsource(Trainer)
NOTE = """
def note(name, trainer):
    parameters = list(trainer.model.parameters())
    assert all(isinstance(p, DTensor) and p.placements == (Shard(0),) for p in parameters), "not sharded"
    local = sum(p.to_local().numel() for p in parameters)
    trainer.save_model(f"{output}/{name}-model")
    trained = torch.cat([p.full_tensor().detach().flatten() for p in parameters]).cpu()
    if trainer.is_world_process_zero():
        whole = sum(p.numel() for p in parameters)
        found = {"log": trainer.state.log_history, "weights": trained, "local": local, "whole": whole}
        torch.save(found, f"{output}/{name}.pt")
"""
AT_LOADING = (
    """
import json, sys
import torch
from torch.distributed.tensor import DTensor, Shard
from transformers import AutoModelForSequenceClassification
from transformers.distributed import DistributedConfig
from sgt_hf.attribution import AttributionSettings
from sgt_hf.distributed import is_sharded
from tests.trainer.runs import built

output, initial, cases = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
"""
    + NOTE
    + """
for name, changes in cases.items():
    model = AutoModelForSequenceClassification.from_pretrained(
        initial, distributed_config=DistributedConfig(fsdp_size=2)
    )
    trainer = built(f"{output}/{name}", model=model, per_device_train_batch_size=2, logging_steps=1, **changes)
    trainer.train()
    trainer.evaluate()
    if name == "shared":  # three texts, which two processes cannot share without a forward of one alone
        rows = trainer.eval_dataset.select(range(3))
        report = trainer.evaluate_faithfulness(rows, methods=["gradient"], progress=False, batch_size=1)
        if trainer.is_world_process_zero():
            torch.save(torch.tensor(report["gradient"].comprehensiveness), f"{output}/faithfulness.pt")
        assert is_sharded(torch.nn.ModuleList([torch.nn.Linear(1, 1), trainer.model]))  # whose first weights are whole
        process = trainer.args.process_index
        noise = AttributionSettings(seed=process, samples=2, noise=3.0)  # scores that differ as roundings might
        if process == 1:  # whose rounding is another's, a thousandfold
            trainer.model.register_forward_hook(lambda _, __, out: out.logits.add_(1e-3 * torch.randn_like(out.logits)))
        how = {"progress": False, "settings": noise, "normalize": "beam", "beam_width": 2}
        report = trainer.evaluate_faithfulness(rows, methods=["smooth_grad"], **how)
        scores = [torch.tensor(score) for score in report.scores["smooth_grad"]]
        curves = [report.curves["smooth_grad"].removed, report.extremes.removed, report.full[:, None, None]]
        torch.save([scores, *map(torch.tensor, curves)], f"{output}/noisy-{process}.pt")
    trainer.create_model_card()
    note(name, trainer)
"""
)
CASES = {
    "shared": {"family": "llama", "sgt_masking": "previous_salient"},
    "separate": {"family": "llama", "sgt_masking": "delete", "sgt_ranking": "separate"},
    "accumulated": {"family": "llama", "gradient_accumulation_steps": 2},
    "save_memory": {"family": "llama", "sgt_save_memory": True},
}


def compare(folder, name, one, processes=2):
    """The curve to 1e-4, the weights to 1e-5, and the saved model, loaded in one process, the same predictions."""
    found = torch.load(folder / f"{name}.pt", weights_only=True)
    assert found["local"] < 1.2 * found["whole"] / processes
    for term in TERMS:
        assert [entry[term] for entry in found["log"] if term in entry] == pytest.approx(losses(one, term), abs=1e-4)
    assert torch.allclose(found["weights"], weights(one), atol=1e-5)
    loaded = AutoModelForSequenceClassification.from_pretrained(folder / f"{name}-model").eval()
    batch = one.data_collator([one.eval_dataset[i] for i in range(4)])
    assert torch.allclose(loaded(**batch).logits, one.model.eval()(**batch).logits, atol=1e-4)


@pytest.mark.skipif(not SHARDED_AT_LOADING, reason="this transformers' Trainer knows no model sharded at loading")
def test_a_model_sharded_at_loading(tmp_path):
    initial = tmp_path / "initial"
    make_model("llama", spread=0.5).save_pretrained(initial)
    launch(tmp_path, AT_LOADING, tmp_path, initial, json.dumps(CASES))
    for name, changes in CASES.items():
        one = trained(tmp_path / "one", logging_steps=1, **changes)
        compare(tmp_path, name, one)
        if name == "shared":
            rows = one.eval_dataset.select(range(3))
            report = one.evaluate_faithfulness(rows, methods=["gradient"], progress=False, batch_size=1)
            found = torch.load(tmp_path / "faithfulness.pt", weights_only=True).tolist()
            assert found == pytest.approx(report["gradient"].comprehensiveness.tolist(), abs=1e-4)
            first, second = (torch.load(tmp_path / f"noisy-{process}.pt", weights_only=True) for process in (0, 1))
            for one, other in zip([*first[0], *first[1:]], [*second[0], *second[1:]], strict=True):
                assert torch.equal(one, other)


# accelerate shards where there is an accelerator; told that these processes are such, it does so on the CPU
BY_ACCELERATE = (
    """
import sys
import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.tensor import DTensor, Shard
from sgt_hf import SaliencyGuidedTrainer
from tests.trainer.runs import built

output = sys.argv[1]
"""
    + NOTE
    + """
class OnCpu(SaliencyGuidedTrainer):
    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
        state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
        self.is_fsdp_enabled = True

settings = {"fsdp": True, "fsdp_config": {"transformer_layer_cls_to_wrap": ["BertLayer"]}}
settings |= {"per_device_train_batch_size": 2, "logging_steps": 1, "save_strategy": "steps", "save_steps": 3}
settings |= {"optim": "adamw_torch", "adam_epsilon": 1e-2}  # torch cannot load the optimizer state that SGD has not
trainer = built(f"{output}/saved", OnCpu, **settings)
trainer.train()
note("whole", trainer)
trainer = built(f"{output}/saved", OnCpu, **settings)
trainer.train(resume_from_checkpoint=f"{output}/saved/checkpoint-3")
note("parted", trainer)
"""
)


def test_a_model_sharded_by_accelerate_also_when_resumed(tmp_path):
    launch(tmp_path, BY_ACCELERATE, tmp_path)
    one = trained(tmp_path / "one", logging_steps=1, optim="adamw_torch", adam_epsilon=1e-2)
    for name in ("whole", "parted"):
        compare(tmp_path, name, one)


ON_GPU = (
    """
import sys
import torch
from torch.distributed.tensor import DTensor, Shard
from tests.trainer.runs import built

output = sys.argv[1]
"""
    + NOTE
    + """
wrapped = {"transformer_layer_cls_to_wrap": ["BertLayer"]}
trainer = built(f"{output}/gpu", use_cpu=False, logging_steps=1, fsdp=True, fsdp_config=wrapped)
trainer.train()
note("gpu", trainer)
"""
)


@pytest.mark.gpu
def test_a_model_sharded_by_accelerate_on_a_gpu(tmp_path):
    launch(tmp_path, ON_GPU, tmp_path, processes=1, on_gpu=True)
    one = trained(tmp_path / "one", logging_steps=1, use_cpu=False)
    one.model.cpu()
    compare(tmp_path, "gpu", one, processes=1)
