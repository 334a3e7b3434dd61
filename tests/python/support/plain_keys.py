"""The bytes of a key, written plainly."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any


def plain_key(kinds: Sequence[str], values: Sequence[Any]) -> bytes:
    """A key, of values as `Type` has them."""
    return b"".join(map(plain_part, kinds, values))


def plain_part(kind: str, value: Any) -> bytes:
    if kind in ("string", "uuid", "binary"):
        data = value if kind == "binary" else value.encode()
        return b"".join(b"\0\xff" if byte == 0 else bytes([byte]) for byte in data) + b"\0\0"
    if kind == "bool":
        return bytes([value])
    if kind in ("float", "double"):
        if math.isnan(value):
            return bytes.fromhex("fff8000000000000")
        data = struct.pack(">d", value or 0.0)
        return bytes(255 - byte for byte in data) if value < 0 else bytes([data[0] + 128]) + data[1:]
    width = {"integer": 9, "date32": 4}.get(kind) or (16 if kind.startswith("decimal") else 8)
    return (value + 256**width // 2).to_bytes(width, "big")
