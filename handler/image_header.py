"""Number of pixels of an image, read from its header, before anything decodes it.

PNG, JPEG, GIF, BMP, WebP and TIFF are read. The time is bounded for any bytes, and a header that states its size twice
counts with the larger one, because decoders differ in the one that they take.
"""

import struct
import sys
from collections.abc import Callable

# No decoder-made file has more segments, chunks or blocks before its size is stated.
_MOST_STEPS = 4096
UNKNOWN_SIZE = sys.maxsize
"""Number of pixels of an image whose header is longer than any that is read."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Markers of JPEG (ITU-T T.81, table B.1): the start of a frame, and those that no length follows.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))
_GIF_FRAME, _GIF_EXTENSION, _GIF_END = 0x2C, 0x21, 0x3B
# Sizes of the header of a BMP file, whose magic number alone may begin a text.
_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


def image_pixels(data: bytes | bytearray) -> int:
    """Return the number of pixels that an image states, or 0 for bytes that are no image of a format read here.

    Return UNKNOWN_SIZE when its size is not found within a bounded number of steps.
    """
    for magic, read in _READERS:
        if data.startswith(magic):
            try:
                return read(data)
            except (struct.error, IndexError, OverflowError):
                return 0  # cut short, or a place beyond any file: no decoder finds a size either
    return 0


def limit_pillow(most: int) -> None:
    """Make Pillow, where it is installed, refuse images of more than twice `most` pixels, and warn above `most`.

    It finds images that hide from the gate in another format or in another encoding.
    """
    try:
        import PIL.Image
    except ImportError:
        return
    before = PIL.Image.MAX_IMAGE_PIXELS
    PIL.Image.MAX_IMAGE_PIXELS = most if before is None else min(before, most)


def _png(data: bytes | bytearray) -> int:
    # Pillow takes the size of the last IHDR chunk before the pixels.
    position, pixels = len(_PNG), 0
    for _ in range(_MOST_STEPS):
        # Each chunk: the length of its content, its kind, the content, a checksum.
        kind = data[position + 4 : position + 8]
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", data, position + 8)
            pixels = max(pixels, width * height)
        if kind == b"IDAT" or len(kind) < 4:
            return pixels
        position += 12 + int(struct.unpack_from(">I", data, position)[0])
    return UNKNOWN_SIZE


def _jpeg(data: bytes | bytearray) -> int:
    position, pixels = 2, 0
    for _ in range(_MOST_STEPS):
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return pixels
        marker = data[position + 1]
        if marker in (0xD9, 0xDA):  # the end of the image, the start of its pixels
            return pixels
        if marker in _FRAMES and position + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, position + 5)
            pixels = max(pixels, width * height)
        if marker == 0xFF:
            position += 1
        elif marker in _BARE_MARKERS:
            position += 2
        elif position + 4 > len(data):
            return pixels
        else:
            position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    return UNKNOWN_SIZE


def _gif(data: bytes | bytearray) -> int:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    palette = 3 << ((flags & 7) + 1) if flags & 0x80 else 0
    pixels, position, in_extension = width * height, 13 + palette, False
    for _ in range(_MOST_STEPS):
        if position >= len(data):
            return int(pixels)
        byte = data[position]
        if in_extension:  # a data block: its size, then as many bytes
            position += 1 + byte
            in_extension = byte != 0
        elif byte == _GIF_FRAME:
            left, top, width, height = struct.unpack_from("<HHHH", data, position + 1)
            # A frame may reach beyond the screen, which decoders enlarge then.
            return int(max(pixels, (left + width) * (top + height)))
        elif byte == _GIF_END:
            return int(pixels)
        else:
            in_extension = byte == _GIF_EXTENSION
            position += 2 if in_extension else 1
    return UNKNOWN_SIZE


def _bmp(data: bytes | bytearray) -> int:
    (header,) = struct.unpack_from("<I", data, 14)
    if header not in _BMP_HEADERS:
        return 0
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return int(abs(width) * abs(height))


def _webp(data: bytes | bytearray) -> int:
    kind = data[8:16]
    if kind == b"WEBPVP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
    elif kind == b"WEBPVP8L":
        (sizes,) = struct.unpack_from("<I", data, 21)
        width, height = (sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1
    elif kind == b"WEBPVP8 ":
        width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", data, 26))
    else:
        return 0
    return width * height


def _tiff(data: bytes | bytearray) -> int:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset, counter, entry, inline = ("Q", "Q", "HHQ", 12) if big else ("I", "H", "HHI", 8)
    (start,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + counter, data, start)
    first, size = start + struct.calcsize("=" + counter), 20 if big else 12
    sides = {_TIFF_WIDTH: 0, _TIFF_HEIGHT: 0}
    if count > _MOST_STEPS:
        return UNKNOWN_SIZE
    for position in range(first, first + count * size, size):
        tag, kind, values = struct.unpack_from(order + entry, data, position)
        if tag in sides:
            if values != 1 or kind not in _TIFF_NUMBERS:
                return UNKNOWN_SIZE
            (value,) = struct.unpack_from(order + _TIFF_NUMBERS[kind], data, position + inline)
            sides[tag] = max(sides[tag], value)
    return sides[_TIFF_WIDTH] * sides[_TIFF_HEIGHT]


_READERS: tuple[tuple[bytes, Callable[[bytes | bytearray], int]], ...] = (
    (_PNG, _png),
    (_JPEG, _jpeg),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
    (b"BM", _bmp),
    (b"RIFF", _webp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"II+\0", _tiff),
    (b"MM\0+", _tiff),
)
