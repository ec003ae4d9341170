"""Reads a PNG to its last pixel, without a library: a truncated or garbled picture does not pass."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def size(data):
    """Width and height of a whole and sound PNG."""
    if not data.startswith(SIGNATURE):
        raise ValueError(f"no PNG: it begins with {data[:16]!r}")
    chunks = list(_chunks(data))
    if chunks[0][0] != b"IHDR" or chunks[-1][0] != b"IEND":
        raise ValueError("it does not run from IHDR to IEND")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    pixels = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    expected = height * (1 + (width * depth * CHANNELS[colour] + 7) // 8)
    if interlace == 0 and len(pixels) != expected:
        raise ValueError(f"{len(pixels)} bytes of pixels, not {expected}")
    return width, height


def _chunks(data):
    at = len(SIGNATURE)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        if zlib.crc32(kind + body) != checksum:
            raise ValueError(f"the checksum of {kind!r} is wrong")
        yield kind, body
        at += 12 + length
