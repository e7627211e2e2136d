"""The size of an image is known before anything decodes it, and no bytes make the reading of it long."""

import io
import random
import struct

import PIL.Image
import pytest

from calpow.handler.image_header import UNKNOWN_SIZE, image_pixels, limit_pillow
from tests.support.pictures import chunk, png

WIDTH, HEIGHT = 321, 123
FRAME = b"\xff\xc0" + struct.pack(">HBHH", 11, 8, 5000, 6000) + b"\x01\x11\x00\x01"


def encoded(kind: str, **options: object) -> bytes:
    """Return a picture of WIDTH x HEIGHT pixels in a format of Pillow."""
    file = io.BytesIO()
    PIL.Image.new("RGB", (WIDTH, HEIGHT), "teal").save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"comment": b"x" * 60_000}),
        ("JPEG", {"progressive": True, "icc_profile": b"x" * 200_000}),
        ("GIF", {"comment": b"x" * 60_000}),
        ("BMP", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"icc_profile": b"x" * 100}),
        ("TIFF", {}),
        ("TIFF", {"big_tiff": True}),
    ],
)
def test_what_pillow_writes_has_the_pixels_that_it_has(kind: str, options: dict[str, object]) -> None:
    image = encoded(kind, **options)
    assert image_pixels(image) == image_pixels(bytearray(image)) == WIDTH * HEIGHT


def test_a_tiff_of_the_other_order_is_read() -> None:
    entries = struct.pack(">HHIHHHHIHH", 256, 3, 1, WIDTH, 0, 257, 3, 1, HEIGHT, 0)
    assert image_pixels(b"MM\0*" + struct.pack(">IH", 8, 2) + entries) == WIDTH * HEIGHT


@pytest.mark.parametrize("data", [b"", b"x", b"0.1,0.2", b"BMW makes cars, and this is a text", b"RIFF1234WAVEfmt "])
def test_other_bytes_have_no_pixels(data: bytes) -> None:
    assert image_pixels(data) == 0


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_an_image_cut_anywhere_is_read_without_an_error(kind: str) -> None:
    image = encoded(kind)
    assert {image_pixels(image[:end]) for end in range(min(len(image), 800))} <= {0, WIDTH * HEIGHT}


@pytest.mark.parametrize(
    "image",
    [
        png(10, 10).replace(chunk(b"IDAT", b""), png(6000, 5000)[8:]),
        b"\xff\xd8\xff\xe0\x00\x02" + FRAME.replace(struct.pack(">HH", 5000, 6000), struct.pack(">HH", 1, 1)) + FRAME,
        b"\xff\xd8\xff\x01garbage\xff\xff\xff" + FRAME,
        b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"\x2c" + struct.pack("<HHHH", 1000, 0, 5000, 5000),
    ],
)
def test_of_several_sizes_the_largest_counts(image: bytes) -> None:
    assert image_pixels(image) == 6000 * 5000


@pytest.mark.parametrize(
    "image",
    [
        b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"") * 500_000,
        b"\xff\xd8\xff" + b"\xff" * 6_000_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 1_500_000,
        b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"\x21\xfe\x01x\x00" * 1_000_000,
        b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"\x21\xfe" + b"\x01x" * 3_000_000,
        b"II*\0" + struct.pack("<IH", 8, 65_535) + bytes(12 * 65_535),
        b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 256, 4, 2, 100),
    ],
)
def test_an_image_whose_size_is_far_from_its_beginning_counts_as_too_large(image: bytes) -> None:
    assert image_pixels(image) == UNKNOWN_SIZE


def test_pillow_refuses_what_hides_from_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image in a format that is not read here, of a few bytes."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    hidden = b"P6 13000 13000 255 "
    assert image_pixels(hidden) == 0
    limit_pillow(50_000_000)
    with pytest.raises(PIL.Image.DecompressionBombError):
        PIL.Image.open(io.BytesIO(hidden))
    limit_pillow(60_000_000)
    assert PIL.Image.MAX_IMAGE_PIXELS == 50_000_000, "a lower limit stays"


@pytest.mark.parametrize("order", [b"II+\0", b"MM\0+"])
def test_a_big_tiff_whose_directory_lies_beyond_any_file_has_no_pixels(order: bytes) -> None:
    assert image_pixels(order + b"\0\x08\0\0" + b"\xff" * 8) == 0


def test_bytes_that_were_changed_anywhere_are_read_without_an_error() -> None:
    rng = random.Random(0)
    images = [encoded(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")]
    images.append(encoded("TIFF", big_tiff=True))
    for _ in range(5_000):
        image = bytearray(rng.choice(images)[:800])
        for _ in range(rng.randrange(1, 9)):
            image[rng.randrange(2, 60)] = rng.choice((0, 127, 128, 255))
        assert image_pixels(image) >= 0
