"""torchvision's classifiers with another input and output, and the weights that torchvision has for them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import torch
import torchvision
from torch import Tensor, nn

from .residual_blocks import own_activations

_AUXILIARY = ("googlenet", "inception_v3")  # return several outputs while training


def build_network(
    architecture: str, *, num_labels: int, num_channels: int = 3, small_images: bool = False
) -> nn.Module:
    """Build torchvision's network, initialised as torchvision does, for some channels and classes.

    It has torchvision's parameters by their names, and an activation module for each place, see `residual_blocks`.

    Args:
        architecture: torchvision's own name of a classifier.
        num_labels: K outputs.
        num_channels: Of the images; where it is not 3, the first convolution is made anew for it.
        small_images: For 32 × 32 images, ResNets only: a stem of one 3 × 3 convolution with stride 1, no max pooling.

    Raises:
        ValueError: torchvision has no such classifier, it returns several outputs, or a setting does not fit it.
    """
    names = torchvision.models.list_models(torchvision.models)
    if architecture not in names:
        raise ValueError(f"torchvision has no classifier {architecture!r}: use one of {names}")
    if architecture in _AUXILIARY:
        raise ValueError(f"{architecture!r} returns several outputs while training: use another of {names}")
    device = torch.empty(0).device  # meta while `from_pretrained` builds, where RegNets cannot compute their widths
    with torch.device("cpu") if architecture.startswith("regnet") else nullcontext():
        network = torchvision.models.get_model(architecture, weights=None, num_classes=num_labels)
    network.to(device)
    own_activations(network)
    if small_images:
        if not isinstance(network, torchvision.models.ResNet):
            raise ValueError(f"small_images is a stem for ResNets, and {architecture!r} is none")
        network.conv1 = nn.Conv2d(num_channels, network.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    elif num_channels != 3:
        _widen_input(network, num_channels)
    return network


def fetch_weights(architecture: str, weights: str) -> Mapping[str, Tensor]:
    """Return torchvision's weights of a name, from torch's hub cache or the net, as its own network loads them.

    Checkpoints with names of an older version are mended there. No random number is drawn.

    Args:
        architecture: torchvision's own name.
        weights: `DEFAULT`, or a name of the architecture's weights.

    Raises:
        ValueError: There are no such weights; the message names those there are.
        ConnectionError: They cannot be downloaded; the message names address and cache.
    """
    known = torchvision.models.get_model_weights(architecture)
    if weights not in known.__members__:
        names = list(known.__members__)
        raise ValueError(f"torchvision has no weights {weights!r} of {architecture}: use one of {names}")
    chosen = known[weights]
    try:
        chosen.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the hash of what was downloaded is wrong
        raise ConnectionError(
            f"the weights {weights!r} of {architecture} could not be fetched from {chosen.url} ({error}): put that "
            f"file into {torch.hub.get_dir()}/checkpoints, or train from scratch with weights=None"
        ) from error
    with torch.random.fork_rng(devices=[]):
        return torchvision.models.get_model(architecture, weights=chosen, progress=False).state_dict()


def load_body(network: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load all but the output layer, which may differ in the number of classes.

    Args:
        network: Of `build_network`.
        state: Weights of the same architecture, such as those of `fetch_weights`.
        name: What a message calls them.

    Raises:
        ValueError: They do not fit the network's body.
    """
    own = network.state_dict()
    head = [key for key in own if key.rpartition(".")[0] == list(own)[-1].rpartition(".")[0]]
    differing = [key for key in own if key not in state or state[key].shape != own[key].shape]
    unfit = sorted(set(differing) - set(head))
    if unfit:
        raise ValueError(
            f"the weights {name} do not fit at {unfit[:3]}: they are for 3-channel images and torchvision's own stem, "
            "so leave num_channels and small_images alone, or use weights=None"
        )
    for key in own.keys() - set(differing):
        own[key].copy_(state[key])


def _widen_input(network: nn.Module, channels: int) -> None:
    """Replace the first convolution by one for another number of channels."""
    name, old = next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    fresh = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, fresh)
