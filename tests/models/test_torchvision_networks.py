import hashlib
import http.server
import re
import threading
from functools import partial

import pytest
import torch
import torchvision

from sgt_hf.models.torchvision_networks import fetch_weights
from sgt_hf.models.vision import TorchvisionForImageClassification


@pytest.fixture
def own_weights(tmp_path, monkeypatch):
    """A checkpoint of a torchvision network served on loopback in place of the official one, and an empty cache."""
    torch.manual_seed(1)
    state = torchvision.models.squeezenet1_1(num_classes=1000).state_dict()
    source = tmp_path / "source.pth"
    torch.save(state, source)
    name = f"squeezenet-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.pth"
    source.rename(tmp_path / name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        known = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
        monkeypatch.setattr(known.value, "url", f"http://127.0.0.1:{server.server_port}/{name}", raising=False)
        yield state
        server.shutdown()
        thread.join()


def test_pretrained_weights_by_name_with_a_new_head(own_weights):
    model = TorchvisionForImageClassification.from_torchvision("squeezenet1_1", weights="IMAGENET1K_V1", num_labels=5)
    assert torch.equal(model.network.features[0].weight, own_weights["features.0.weight"])
    assert model.network.classifier[1].out_channels == 5
    assert model(torch.zeros(1, 3, 48, 48)).logits.shape == (1, 5)
    with pytest.raises(ValueError, match=r"squeezenet1_1 IMAGENET1K_V1 do not fit at \['network|'features"):
        TorchvisionForImageClassification.from_torchvision("squeezenet1_1", weights="IMAGENET1K_V1", num_channels=1)


def in_the_cache(monkeypatch, tmp_path, weights, state):
    """Puts a checkpoint where torch's hub keeps the official one."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / weights.url.rpartition("/")[2])


def with_old_names(state):
    """The names in torchvision's DenseNet checkpoints, which torch no longer allows; they count no batches."""
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", name): value for name, value in state.items()}
    return {name: value for name, value in old.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("architecture", "weights", "saved"),
    [
        ("mnasnet0_5", torchvision.models.MNASNet0_5_Weights.IMAGENET1K_V1, lambda state: state),
        ("densenet121", torchvision.models.DenseNet121_Weights.IMAGENET1K_V1, with_old_names),
    ],
)
def test_pretrained_weights_load_as_torchvision_loads_them(monkeypatch, tmp_path, architecture, weights, saved):
    torch.manual_seed(1)
    donor = torchvision.models.get_model(architecture).state_dict()
    in_the_cache(monkeypatch, tmp_path, weights, saved(donor))
    torch.manual_seed(2)
    model = TorchvisionForImageClassification.from_torchvision(architecture, weights="DEFAULT", num_labels=5)
    drawn = torch.rand(())
    own = model.network.state_dict()
    body = [name for name in own if own[name].shape == donor[name].shape]
    assert len(own) - len(body) == 2  # weight and bias of the output layer
    assert all(torch.equal(own[name], donor[name]) for name in body)
    torch.manual_seed(2)
    TorchvisionForImageClassification.from_torchvision(architecture, num_labels=5)
    assert torch.equal(torch.rand(()), drawn)  # loading draws no number


def test_weights_that_cannot_be_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    known = torchvision.models.VGG16_Weights.IMAGENET1K_V1
    monkeypatch.setattr(known.value, "url", "http://127.0.0.1:9/vgg16-00000000.pth", raising=False)
    with pytest.raises(ConnectionError, match=r"'DEFAULT' of vgg16 could not be fetched from .*:9/vgg16.*/checkpoints"):
        fetch_weights("vgg16", "DEFAULT")


def test_weights_that_do_not_exist():
    with pytest.raises(ValueError, match=r"no weights 'V9' of resnet18: use one of \['IMAGENET1K_V1'"):
        fetch_weights("resnet18", "V9")
