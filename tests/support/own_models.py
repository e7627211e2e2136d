"""Classifiers of every kind that owners have: trained on the spot, archived, with payloads to train and to hold out."""

import base64
import io
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the customary name
from ts.handler_utils.text_utils import get_tokenizer, ngrams_iterator

from tests.support.own_training import descend, fit, new_network, train
from tests.support.victims.build import archive

OWN = Path(__file__).parent / "victims" / "own"
TRAIN, HELD_OUT = 24, 14
TOPICS = {
    "food": ["bread", "soup", "salt", "oven", "butter", "rice", "apple", "cheese", "taste", "kitchen"],
    "money": ["bank", "price", "market", "loan", "stock", "tax", "profit", "invoice", "budget", "share"],
    "science": ["atom", "theory", "cell", "orbit", "proof", "gene", "laser", "vaccine", "planet", "energy"],
    "sport": ["goal", "match", "team", "score", "coach", "league", "tennis", "race", "medal", "stadium"],
}
FILLERS = ["the", "a", "of", "and", "in", "on", "with", "for", "was", "is", "that", "this", "very", "new", "old"]


@dataclass(frozen=True)
class Payloads:
    """Payload bodies by class, with the media type's suffix of their files."""

    suffix: str
    bodies: Mapping[str, Sequence[bytes]]

    def write(self, folder: Path) -> None:
        """Write the folders `train` and `heldout`, each with a folder a class."""
        for name, bodies in self.bodies.items():
            for part, share in (("train", bodies[:TRAIN]), ("heldout", bodies[TRAIN:])):
                (folder / part / name).mkdir(parents=True)
                for number, body in enumerate(share):
                    (folder / part / name / f"{number:02}{self.suffix}").write_bytes(body)


@dataclass(frozen=True)
class OwnModel:
    """An owner's `victim.mar` in `folder`, beside the payloads `train` and `heldout`, a folder a class."""

    folder: Path

    @property
    def victim(self) -> Path:
        """The archive to protect."""
        return self.folder / "victim.mar"

    def payloads(self, count: int) -> list[Path]:
        """Return held-out payloads, of all classes in turns."""
        classes = sorted((self.folder / "heldout").iterdir())
        return [sorted(classes[index % len(classes)].iterdir())[index // len(classes)] for index in range(count)]


@dataclass(frozen=True)
class _Recipe:
    """The parts of an archive besides the weights."""

    handler: str
    network: str
    settings: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, bytes] = field(default_factory=dict)


def image_classifier(folder: Path) -> OwnModel:
    """TorchServe's own image_classifier, with names for its classes."""
    pictures, labels = _digits()
    scaled = F.interpolate(pictures, 224, mode="bilinear")
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    # The network pools to this size first; pooled already, it trains faster.
    pooled = F.adaptive_avg_pool2d((scaled - mean.view(3, 1, 1)) / deviation.view(3, 1, 1), 8)
    network = fit(new_network("grid_net"), pooled, labels)
    names = json.dumps({str(label): f"digit {label}" for label in range(5)}).encode()
    recipe = _Recipe("image_classifier", "grid_net", extra={"index_to_name.json": names})
    return _write(folder, network, recipe, _files(_pngs(pictures), labels, ".png"))


def text_classifier(folder: Path) -> OwnModel:
    """TorchServe's own text_classifier, on words and pairs of words; those it does not know are number 0."""
    texts, labels = _texts()
    tokenise = get_tokenizer("basic_english")
    words = [list(ngrams_iterator(tokenise(text), 2)) for text in texts]
    frequent = [word for word, _ in Counter(word for row in words for word in row).most_common(1999)]
    vocabulary = Counter({word: number for number, word in enumerate(frequent, start=1)})
    rows = [torch.tensor([vocabulary[word] for word in row]) for row in words]
    offsets = torch.tensor([0, *[len(row) for row in rows[:-1]]]).cumsum(0)
    network = train(new_network("bag_net"), lambda network: network(torch.cat(rows), offsets), labels)
    stored = io.BytesIO()
    torch.save(vocabulary, stored)
    names = json.dumps({str(label): name for label, name in enumerate(TOPICS)}).encode()
    extra = {"source_vocab.pt": stored.getvalue(), "index_to_name.json": names}
    payloads = _files([text.encode() for text in texts], labels, ".txt", names=list(TOPICS))
    return _write(folder, network, _Recipe("text_classifier", "bag_net", extra=extra), payloads)


def transformer(folder: Path) -> OwnModel:
    """A transformer that takes padded ids and their mask by name, and answers with an object."""
    texts, labels = _texts()
    known = [*FILLERS, *(word for words in TOPICS.values() for word in words)]
    words = {word: number for number, word in enumerate(known, start=2)}
    rows = [torch.tensor([words[word] for word in text.split()]) for text in texts]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    network = train(
        new_network("tiny_bert"), lambda network: network(input_ids=ids, attention_mask=(ids > 0).long()).logits, labels
    )
    names = json.dumps({str(label): name for label, name in enumerate(TOPICS)}).encode()
    extra = {"words.json": json.dumps(words).encode(), "index_to_name.json": names}
    payloads = _files([text.encode() for text in texts], labels, ".txt", names=list(TOPICS))
    return _write(folder, network, _Recipe("bert_handler", "tiny_bert", extra=extra), payloads)


def distilbert(folder: Path) -> OwnModel:
    """A DistilBERT of the Transformers library, with a tokenizer of its own: both as the library saves them."""
    # Imported here: only this model needs them.
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

    texts, labels = _texts()
    words = ["[PAD]", "[UNK]", *FILLERS, *(word for words in TOPICS.values() for word in words)]
    by_word = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    by_word.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=by_word, pad_token="[PAD]", unk_token="[UNK]"
    )
    names = dict(enumerate(TOPICS))
    network = DistilBertForSequenceClassification(
        DistilBertConfig(
            vocab_size=len(words),
            max_position_embeddings=64,
            dim=16,
            n_layers=2,
            n_heads=2,
            hidden_dim=32,
            dropout=0.0,
            attention_dropout=0.0,
            seq_classif_dropout=0.0,
            id2label=names,
        )
    )
    rows = tokenizer(texts, return_tensors="pt", padding=True)
    inputs = {"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"]}
    train(network, lambda network: network(**inputs).logits, labels)
    saved = folder / "saved"
    network.save_pretrained(saved)
    tokenizer.save_pretrained(saved)
    _files([text.encode() for text in texts], labels, ".txt", names=list(TOPICS)).write(folder)
    weights = saved / "model.safetensors"
    others = ",".join(str(path) for path in saved.iterdir() if path != weights)
    archive(
        folder, "victim", str(OWN / "handlers" / "distilbert_handler.py"), serialized_file=weights, extra_files=others
    )
    return OwnModel(folder)


def table(folder: Path, dtype: str = "float32") -> OwnModel:
    """Rows of a table as JSON `instances`, of which the model takes numbers of this type, or bools."""
    rows, labels = _rows()
    if dtype == "bool":
        rows = (rows > 0).float()
    network = fit(new_network("table_net"), rows, labels)
    recipe = _Recipe("table_handler", "table_net", {"dtype": dtype})
    entries = [[bool(entry) for entry in row] for row in rows.tolist()] if dtype == "bool" else _rounded(rows)
    return _write(folder, network, recipe, _files(_instances(entries), labels, ".json"))


def tokens(folder: Path) -> OwnModel:
    """Token ids of a fixed length as JSON `instances`."""
    generator = torch.Generator().manual_seed(5)
    labels = _labels(4)
    own = torch.randint(0, 12, (len(labels), 12), generator=generator) + 12 * labels.unsqueeze(1)
    anything = torch.randint(0, 50, own.shape, generator=generator)
    ids = torch.where(torch.rand(own.shape, generator=generator) < 0.4, own, anything)
    network = fit(new_network("token_net"), ids, labels)
    recipe = _Recipe("table_handler", "token_net", {"dtype": "int64"})
    return _write(folder, network, recipe, _files(_instances(ids.tolist()), labels, ".json"))


def pixels(folder: Path) -> OwnModel:
    """Pictures as bytes, uint8, which the model scales itself."""
    pictures, labels = _digits()
    network = fit(new_network("pixel_net"), (pictures * 255).to(torch.uint8), labels)
    return _write(folder, network, _Recipe("pixel_handler", "pixel_net"), _files(_pngs(pictures), labels, ".png"))


def base64_pictures(folder: Path) -> OwnModel:
    """Pictures in base64, in JSON."""
    pictures, labels = _digits()
    bodies = [json.dumps({"b64": base64.b64encode(png).decode()}).encode() for png in _pngs(pictures)]
    recipe = _Recipe("base64_handler", "grid_net")
    return _write(folder, fit(new_network("grid_net"), pictures, labels), recipe, _files(bodies, labels, ".json"))


def part(folder: Path) -> OwnModel:
    """Pictures in the part `image` of a form."""
    pictures, labels = _digits()
    recipe = _Recipe("part_handler", "grid_net")
    return _write(
        folder, fit(new_network("grid_net"), pictures, labels), recipe, _files(_pngs(pictures), labels, ".png")
    )


def structures(folder: Path, returns: str) -> OwnModel:
    """A handler whose `preprocess` returns a `tuple` or `dict` of tensors, which is the model's only argument."""
    rows, labels = _rows()
    weights = torch.ones(len(rows), 1)
    recipe = _Recipe("shapes_handler", "structured_net", {"returns": returns})
    return _write(folder, fit(new_network("structured_net"), (rows, weights), labels), recipe, _lines(rows, labels))


def shapes(folder: Path, returns: str) -> OwnModel:
    """A handler whose `preprocess` returns a `list`, an `array`, or one `sample` without a batch axis."""
    rows, labels = _rows()
    recipe = _Recipe("shapes_handler", "table_net", {"returns": returns})
    return _write(folder, fit(new_network("table_net"), rows, labels), recipe, _lines(rows, labels))


def context(folder: Path) -> OwnModel:
    """A handler whose `preprocess` takes the context and keeps it."""
    rows, labels = _rows()
    recipe = _Recipe("context_handler", "table_net")
    return _write(folder, fit(new_network("table_net"), rows, labels), recipe, _lines(rows, labels))


def sequences(folder: Path) -> OwnModel:
    """Sequences, each of another length, and a call of the model for each."""
    generator = torch.Generator().manual_seed(6)
    labels = _labels(4)
    lengths = torch.tensor([8, 13, 21, 34])[torch.randint(0, 4, (len(labels),), generator=generator)]
    levels = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, -1.0, 0.0]])[labels]
    rows = [
        level + 0.8 * torch.randn(int(length), 3, generator=generator)
        for level, length in zip(levels, lengths, strict=True)
    ]
    by_length = lengths.argsort(stable=True)
    groups = [
        torch.stack([rows[index] for index in by_length if len(rows[index]) == length]) for length in (8, 13, 21, 34)
    ]
    network = train(
        new_network("sequence_net"), lambda network: torch.cat([network(group) for group in groups]), labels[by_length]
    )
    bodies = [json.dumps(_rounded(row)).encode() for row in rows]
    return _write(folder, network, _Recipe("sequence_handler", "sequence_net"), _files(bodies, labels, ".json"))


def binary(folder: Path, network: str) -> OwnModel:
    """A model of two classes with one number a sample: `binary_net` gives probabilities, `flat_net` logits."""
    rows, labels = _rows()
    # Two classes of two clusters each.
    halves = labels // 2
    chosen = new_network(network)

    def loss(answers: Tensor) -> Tensor:
        numbers, wanted = answers.reshape(-1), halves.float()
        if network == "binary_net":
            return F.binary_cross_entropy(numbers, wanted)
        return F.binary_cross_entropy_with_logits(numbers, wanted)

    descend(chosen, lambda: loss(chosen(rows)))
    recipe = _Recipe("table_handler", network, {"dtype": "float32"})
    return _write(folder, chosen, recipe, _files(_instances(_rounded(rows)), halves, ".json", each=TRAIN + HELD_OUT))


def several_labels(folder: Path) -> OwnModel:
    """A model whose classes are not exclusive: a sigmoid for each."""
    rows, labels = _rows()
    network = new_network("labels_net")
    # Of each class, the next one holds as well.
    wanted = F.one_hot(labels, 4) + F.one_hot((labels + 1) % 4, 4)
    descend(network, lambda: F.binary_cross_entropy(network(rows), wanted.float()))
    recipe = _Recipe("table_handler", "labels_net", {"dtype": "float32"})
    return _write(folder, network, recipe, _files(_instances(_rounded(rows)), labels, ".json"))


def _lines(rows: Tensor, labels: Tensor) -> Payloads:
    return _files([",".join(map(str, row)).encode() for row in _rounded(rows)], labels, ".txt")


def _labels(classes: int) -> Tensor:
    return torch.arange(classes).repeat_interleave(TRAIN + HELD_OUT)


def _rows() -> tuple[Tensor, Tensor]:
    """Return rows of numbers around the centre of their class, and the four classes."""
    generator = torch.Generator().manual_seed(4)
    labels = _labels(4)
    centres = 0.8 * torch.randn(4, 24, generator=generator)
    return centres[labels] + torch.randn(len(labels), 24, generator=generator), labels


def _digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's handwritten digits 0 to 4, colour pictures of 16x16 from 0 to 1, by class."""
    digits = load_digits()
    images, targets = torch.tensor(digits.images, dtype=torch.float32), torch.tensor(digits.target)
    chosen = torch.cat([torch.nonzero(targets == label)[: TRAIN + HELD_OUT, 0] for label in range(5)])
    grey = F.interpolate(images[chosen].unsqueeze(1) / 16, 16)
    return grey.expand(-1, 3, -1, -1), _labels(5)


def _texts() -> tuple[list[str], Tensor]:
    """Return sentences about four topics, and their topics."""
    rng = random.Random(7)
    labels = _labels(4)
    texts = []
    for label in labels.tolist():
        own, length = list(TOPICS.values())[label], rng.randint(6, 16)
        texts.append(" ".join(rng.choice(own if rng.random() < 0.4 else FILLERS) for _ in range(length)))
    return texts, labels


def _pngs(pictures: Tensor) -> list[bytes]:
    pngs = []
    for pixels_ in (pictures * 255).to(torch.uint8).permute(0, 2, 3, 1):
        stored = io.BytesIO()
        Image.fromarray(pixels_.contiguous().numpy()).save(stored, "PNG")
        pngs.append(stored.getvalue())
    return pngs


def _rounded(rows: Tensor) -> list[list[float]]:
    return [[round(number, 4) for number in row] for row in rows.tolist()]


def _instances(rows: Sequence[Sequence[object]]) -> list[bytes]:
    return [json.dumps({"instances": [row]}).encode() for row in rows]


def _files(
    bodies: Sequence[bytes], labels: Tensor, suffix: str, *, names: Sequence[str] = (), each: int | None = None
) -> Payloads:
    """Group bodies by class; `each` keeps that many of a class, spread over all that there are."""
    grouped: dict[str, list[bytes]] = {}
    for body, label in zip(bodies, labels.tolist(), strict=True):
        grouped.setdefault(names[label] if names else str(label), []).append(body)
    if each is not None:
        grouped = {name: group[:: len(group) // each][:each] for name, group in grouped.items()}
    return Payloads(suffix, grouped)


def _write(folder: Path, network: nn.Module, recipe: _Recipe, payloads: Payloads) -> OwnModel:
    """Write the payloads and the archive `victim.mar`."""
    folder.mkdir(parents=True, exist_ok=True)
    payloads.write(folder)
    parts = folder / "parts"
    parts.mkdir()
    torch.save(network.state_dict(), parts / "weights.pth")
    options: dict[str, Path | str] = {
        "model_file": OWN / "networks" / f"{recipe.network}.py",
        "serialized_file": parts / "weights.pth",
    }
    for name, content in recipe.extra.items():
        (parts / name).write_bytes(content)
    if recipe.extra:
        options["extra_files"] = ",".join(str(parts / name) for name in recipe.extra)
    if recipe.settings:
        settings = "".join(f"  {name}: {value}\n" for name, value in recipe.settings.items())
        (parts / "model-config.yaml").write_text("minWorkers: 1\nmaxWorkers: 1\nhandler:\n" + settings)
        options["config_file"] = parts / "model-config.yaml"
    written = OWN / "handlers" / f"{recipe.handler}.py"
    archive(folder, "victim", str(written) if written.exists() else recipe.handler, **options)
    return OwnModel(folder)
