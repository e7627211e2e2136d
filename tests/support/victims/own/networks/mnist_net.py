"""The paper's network for grey images of 28 x 28 (appendix B.2)."""

from torch import nn

from calpow.archiver.teachers.networks import MNISTNET_SHAPE, mnistnet


class MnistNet(nn.Sequential):
    """Grey images [n, 1, 28, 28] with values in 0..1 -> logits [n, 10]."""

    def __init__(self) -> None:
        super().__init__(*mnistnet(10, MNISTNET_SHAPE).children())
