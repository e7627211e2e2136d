"""The network of the slow victim, as torch-model-archiver's --model-file wants it: one class in one file."""

from torchvision.models.resnet import BasicBlock, ResNet


class DigitsResNet(ResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's resnet18 for ten classes."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=10)
