"""Colour profiles made by hand, each unlike sRGB: three of RGB, one of grey, one of CMYK."""

import struct
from collections.abc import Mapping

D50 = (0.9642, 1.0, 0.8249)
PRIMARIES = {
    "display_p3": ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)),
    "wide": ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)),
    "exchanged": ((0.3851, 0.7169, 0.0971), (0.4361, 0.2225, 0.0139), (0.1431, 0.0606, 0.7141)),
}
"""What full red, green and blue are in XYZ; in the last one red and green have changed places."""


def rgb_profile(name: str, gamma: float = 2.2) -> bytes:
    """A profile of RGB with these primaries."""
    tags = {f"{channel}XYZ": xyz(*place) for channel, place in zip("rgb", PRIMARIES[name], strict=True)}
    return profile("RGB ", tags | {f"{channel}TRC": curve(gamma) for channel in "rgb"})


def grey_profile(gamma: float) -> bytes:
    """A profile of grey."""
    return profile("GRAY", {"kTRC": curve(gamma)})


def cmyk_profile() -> bytes:
    """A profile of CMYK, a table of the 16 corners: inks on paper, lighter than Pillow's formula has them."""
    corners = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    table = bytes(value for corner in corners for value in lab_of_inks(*corner))
    straight = bytes(range(256))
    unit = struct.pack(">9i", *(65536 if place % 4 == 0 else 0 for place in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + straight * 4 + table + straight * 3
    return profile("CMYK", {"A2B0": lut}, space="Lab ", kind="prtr")


def lab_of_inks(c: int, m: int, y: int, k: int) -> tuple[int, int, int]:
    lightness = 240 - 60 * c - 70 * m - 20 * y - 120 * k
    return max(20, lightness), 128 + (60 * m - 40 * c) // (1 + k), 128 + (80 * y - 50 * c) // (1 + k)


def profile(colours: str, tags: Mapping[str, bytes], space: str = "XYZ ", kind: str = "mntr") -> bytes:
    """A profile of version 2 out of its tags."""
    tags = {"desc": described("made by hand"), "wtpt": xyz(*D50), "cprt": b"text\0\0\0\0none\0"} | dict(tags)
    start = 128 + 4 + 12 * len(tags)
    index, content = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        index += name.encode() + struct.pack(">II", start + len(content), len(tag))
        content += tag + bytes(-len(tag) % 4)
    head = struct.pack(
        ">I4sI4s4s4s",
        start + len(content),
        b"none",
        0x02100000,
        kind.encode(),
        colours.encode(),
        space.encode(),
    )
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz(*D50)[8:]
    return head.ljust(128, b"\0") + index + content


def xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in (x, y, z)))


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def described(text: str) -> bytes:
    letters = text.encode() + b"\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(letters)) + letters + bytes(78)
