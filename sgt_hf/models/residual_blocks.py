"""torchvision's residual blocks with an activation module for each place, as DeepLIFT's hooks need."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck


class ResidualBlock(nn.Module):
    """A block of torchvision's ResNets, which calls its one ReLU after each normalisation; this one has several.

    Modules with parameters are the block's own, under their names there, so state dicts are the same, and so are the
    outputs.

    Args:
        block: `BasicBlock` of two convolutions, or `Bottleneck` of three.
    """

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = block.conv1, block.bn1, nn.ReLU(inplace=True)
        self.conv2, self.bn2 = block.conv2, block.bn2
        self.is_bottleneck = isinstance(block, Bottleneck)
        if isinstance(block, Bottleneck):
            self.relu2, self.conv3, self.bn3 = nn.ReLU(inplace=True), block.conv3, block.bn3
        self.relu = nn.ReLU(inplace=True)
        self.downsample = block.downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the block's output."""
        out: Tensor = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.is_bottleneck:
            out = self.bn3(self.conv3(self.relu2(out)))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


def own_activations(network: nn.Module) -> None:
    """Put a `ResidualBlock` in the place of each of torchvision's blocks.

    Args:
        network: Changed in place.
    """
    for parent in list(network.modules()):
        for name, block in list(parent.named_children()):
            if type(block) in (BasicBlock, Bottleneck):
                setattr(parent, name, ResidualBlock(block))
