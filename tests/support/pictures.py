"""Files that state the size of a picture and hold little of it: what a server must not decode."""

import struct
import zlib


def png(width: int, height: int, *, packed: int = 0) -> bytes:
    """Return the beginning of a PNG file of RGB pixels, with the first `packed` MB of them, all black."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    packer = zlib.compressobj()
    pixels = b"".join(packer.compress(bytes(1 << 20)) for _ in range(packed))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
