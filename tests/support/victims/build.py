"""Archives victims of every kind with the stock `torch-model-archiver`, and writes payloads for them."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

from tests.support.victims.picture_net import PictureNet
from tests.support.victims.vector_net import VectorNet

HERE = Path(__file__).parent
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 200\nresponseTimeout: 30\n"


def archive(folder: Path, name: str, handler: str, **options: Path | str) -> Path:
    """Run torch-model-archiver; options as its flags, underscores for dashes."""
    command = [sys.executable, "-c", "from model_archiver.model_packaging import generate_model_archive as g; g()"]
    command += ["--model-name", name, "--version", "1.0", "--handler", handler, "--export-path", str(folder)]
    for option, value in options.items():
        command += ["--" + option.replace("_", "-"), str(value)]
    scratch = folder / f"{name}-scratch"
    scratch.mkdir()
    subprocess.run(command, check=True, capture_output=True, env={"TMPDIR": str(scratch)})
    return folder / f"{name}.mar"


def vector_class(folder: Path, name: str = "vector", *, batched: bool = False) -> Path:
    """An eager model behind a custom class; `batched` gives it a model-config.yaml with batches of four."""
    options: dict[str, Path | str] = {"model_file": HERE / "vector_net.py", "serialized_file": _state(folder, name)}
    if batched:
        config = folder / "model-config.yaml"
        config.write_text(CONFIG)
        options["config_file"] = config
    return archive(folder, name, str(HERE / "vector_handler.py"), **options)


def with_handler(folder: Path, handler: Path, name: str = "victim") -> Path:
    """An eager model on vectors behind a handler of the test's own, which may import vector_handler."""
    options = {
        "model_file": HERE / "vector_net.py",
        "serialized_file": _state(folder, name),
        "extra_files": HERE / "vector_handler.py",
    }
    return archive(folder, name, str(handler), **options)


def counting(folder: Path, name: str, *, workers: int, batch: int) -> Path:
    """A model on vectors whose handler writes down each pass; a payload may hold several vectors."""
    return _on_vectors(folder, name, "counting_handler.py", workers=workers, batch=batch)


def stopping(folder: Path, name: str, *, workers: int, batch: int) -> Path:
    """A model on vectors whose workers stop where stopping_handler.py is told to."""
    return _on_vectors(folder, name, "stopping_handler.py", workers=workers, batch=batch)


def stateful(folder: Path, name: str, *, workers: int, batch: int) -> Path:
    """A model on vectors whose handler keeps state wherever Python lets it, and reads everything of a request."""
    desk = HERE / "desk.py"
    return _on_vectors(folder, name, "stateful_handler.py", workers=workers, batch=batch, extra_files=desk)


def telling(folder: Path, name: str = "telling", *, version: str = "1.0") -> Path:
    """A model on vectors whose handler names itself in all that leaves it, in batches of four."""
    config = folder / f"{name}.yaml"
    config.write_text(CONFIG)
    options = {"model_file": HERE / "vector_net.py", "serialized_file": _state(folder, name), "config_file": config}
    return archive(folder, name, str(HERE / "telling_handler.py"), version=version, **options)


def random(folder: Path, name: str = "random") -> Path:
    """A model on vectors that never gives the same answer twice."""
    options = {"model_file": HERE / "vector_net.py", "serialized_file": _state(folder, name)}
    return archive(folder, name, str(HERE / "random_handler.py"), **options)


def hoarding(folder: Path, name: str = "hoarding") -> Path:
    """A model on vectors whose handler keeps something of every request."""
    options = {"model_file": HERE / "vector_net.py", "serialized_file": _state(folder, name)}
    return archive(folder, name, str(HERE / "hoarding_handler.py"), **options)


def headers(folder: Path, name: str = "headers") -> Path:
    """A model on vectors that may come in a header, in the path or in the media type."""
    options = {"model_file": HERE / "vector_net.py", "serialized_file": _state(folder, name)}
    return archive(folder, name, str(HERE / "header_handler.py"), **options)


def json_lists(folder: Path, name: str = "lists") -> Path:
    """A model on vectors whose payloads are JSON lists of them."""
    options = {"model_file": HERE / "vector_net.py", "serialized_file": _state(folder, name)}
    return archive(folder, name, str(HERE / "json_handler.py"), **options)


def odd(folder: Path, how: str) -> Path:
    """A victim on vectors that calls its model, and is answered by it, in the way that odd_handler.py names `how`."""
    (folder / "how.txt").write_text(how)
    return archive(
        folder, "odd", str(HERE / "odd_handler.py"), extra_files=f"{HERE / 'odd_net.py'},{folder / 'how.txt'}"
    )


def vector_function(folder: Path, name: str = "function") -> Path:
    """A TorchScript model behind a module-level function, with a file it opens relative to its directory."""
    script = folder / "vector.pt"
    torch.jit.script(vector_net()).save(str(script))  # type: ignore[no-untyped-call]  # torch
    greeting = folder / "greeting.json"
    greeting.write_text(json.dumps({"greeting": "class"}))
    return archive(folder, name, f"{HERE / 'vector_service'}:predict", serialized_file=script, extra_files=greeting)


def bare_function(folder: Path, name: str = "bare") -> Path:
    """A function handler without a model."""
    return archive(folder, name, str(HERE / "bare_service.py"))


def asynchronous(folder: Path, name: str = "asynchronous") -> Path:
    """A handler that is a coroutine."""
    return archive(folder, name, str(HERE / "async_handler.py"))


def pictures(folder: Path, name: str, *, script: bool) -> Path:
    """TorchServe's default image_classifier, eager or TorchScript; with names for its classes."""
    network = _picture_net()
    names = folder / "index_to_name.json"
    names.write_text(json.dumps({str(index): f"thing {index}" for index in range(10)}))
    weights = folder / f"{name}.pt"
    options: dict[str, Path | str] = {"serialized_file": weights, "extra_files": names}
    if script:
        torch.jit.script(network).save(str(weights))  # type: ignore[no-untyped-call]  # torch
    else:
        torch.save(network.state_dict(), weights)
        options["model_file"] = HERE / "picture_net.py"
    return archive(folder, name, "image_classifier", **options)


def vectors(folder: Path, per_class: int = 60) -> Path:
    """Payloads by class: four numbers, the class's own the largest."""
    generator = torch.Generator().manual_seed(2)
    for label in range(4):
        (folder / str(label)).mkdir(parents=True)
        for number in range(per_class):
            vector = torch.rand(4, generator=generator)
            vector[label] += 0.7
            text = ",".join(f"{value:.3f}" for value in vector.tolist())
            (folder / str(label) / f"{number}.txt").write_text(text)
    return folder


def colours(folder: Path, per_class: int = 24) -> Path:
    """Payloads by class: plain pictures of ten colours, a little noisy."""
    generator = torch.Generator().manual_seed(3)
    base = _base_colours(generator)
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
        for number in range(per_class):
            noise = torch.randn(8, 8, 3, generator=generator) * 12
            pixels = (base[label] + noise).clamp(0, 255).to(torch.uint8)
            picture = Image.frombytes("RGB", (8, 8), bytes(pixels.flatten().tolist()))
            picture.save(folder / str(label) / f"{number}.png")
    return folder


def _on_vectors(folder: Path, name: str, handler: str, *, workers: int, batch: int, **options: Path | str) -> Path:
    config = folder / f"{name}.yaml"
    config.write_text(
        f"minWorkers: {workers}\nmaxWorkers: {workers}\nbatchSize: {batch}\nmaxBatchDelay: 200\nresponseTimeout: 30\n"
    )
    options |= {"model_file": HERE / "vector_net.py", "serialized_file": _state(folder, name), "config_file": config}
    return archive(folder, name, str(HERE / handler), **options)


def _base_colours(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(10, 3, generator=generator) * 255


def _picture_net() -> PictureNet:
    """Return a network that names the nearest of the colours, of pictures as image_classifier scales them."""
    colours = _base_colours(torch.Generator().manual_seed(3)) / 255
    scaled = (colours - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    network = PictureNet().eval()
    with torch.no_grad():
        network.layer.weight.copy_(4 * scaled.repeat_interleave(64, dim=1) / 64)
        network.layer.bias.copy_(-2 * scaled.square().sum(dim=1))
    return network


def vector_net() -> VectorNet:
    """Return the model on vectors."""
    network = VectorNet().eval()
    with torch.no_grad():
        network.layer.weight.copy_(torch.eye(4) * 8)
        network.layer.bias.zero_()
    return network


def _state(folder: Path, name: str) -> Path:
    path = folder / f"{name}.pth"
    torch.save(vector_net().state_dict(), path)
    return path
