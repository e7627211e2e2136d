"""Orders for an ensemble of teachers, as an owner gives them."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from calpow.archiver.data.media_types import BODY
from calpow.archiver.errors import TrainingError
from calpow.archiver.teachers.backbone import PREFIX
from calpow.archiver.teachers.networks import absolute
from calpow.handler.errors import TrunkError
from calpow.handler.leakage.teachers.trunks import TRUNKS

NO_TRUNK = "none"


@dataclass(frozen=True)
class TeacherOrder:
    """An order for an ensemble: data, teachers, and the file to write. Members that are None are chosen by the data.

    `part` carries the payload in a request; `classes` is a file that names the classes in the order of the victim's.
    """

    victim: Path
    data: Path
    output: Path
    teachers: int | None = None
    trunk: str | None = None
    seed: int = 0
    network: str | None = None
    epochs: int | None = None
    weights: Path | None = None
    part: str = BODY
    classes: Path | None = None

    def checked(self) -> "TeacherOrder":
        """Return the order with absolute paths. Raises TrainingError or TrunkError when its members contradict."""
        output = self.output.resolve()
        if output.suffix != ".pt" or not output.parent.is_dir():
            raise TrainingError(f"--output {self.output}: give a .pt file in a folder that exists")
        trunk = self.trunk
        if trunk is not None and trunk not in (NO_TRUNK, *TRUNKS) and not trunk.startswith(PREFIX):
            raise TrunkError(
                f"there is no trunk {trunk}: take one of {', '.join((NO_TRUNK, *TRUNKS))}, {PREFIX}resnet18"
            )
        if trunk != NO_TRUNK and (self.network is not None or self.epochs is not None):
            raise TrainingError("--network and --epochs are for independent teachers: give --trunk none with them")
        if self.weights and not (trunk or "").startswith(PREFIX):
            raise TrainingError(
                f"--weights are for a public backbone: give --trunk {PREFIX}resnet18, or its like, with it"
            )
        if self.epochs is not None and self.epochs < 1:
            raise TrainingError(f"there cannot be {self.epochs} epochs: give at least one")
        weights = self.weights.resolve() if self.weights else None
        network = absolute(self.network) if self.network else None
        return replace(
            self,
            victim=self.victim.resolve(),
            data=self.data.resolve(),
            output=output,
            weights=weights,
            network=network,
            classes=self.classes and self.classes.resolve(),
        )

    @property
    def command(self) -> str:
        """The command of the order, without its trunk."""
        words = ["calpow", "teachers", "--victim", str(self.victim), "--data", str(self.data)]
        words += ["--output", str(self.output)]
        words += ["--teachers", str(self.teachers)] if self.teachers else []
        words += ["--seed", str(self.seed)] if self.seed else []
        words += ["--part", self.part] if self.part != BODY else []
        words += ["--classes", str(self.classes)] if self.classes else []
        return shlex.join(words)
