"""How far apart colours are: contrast as in WCAG 2.1, distance in CIELAB, for all kinds of colour vision.

The matrices are those of Machado, Oliveira and Fernandes (2009) for full severity, on linear sRGB.
"""

from collections.abc import Sequence

VISIONS: dict[str, list[list[float]]] = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
WHITE_D65 = (0.95047, 1.0, 1.08883)
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def contrast(one: str, other: str) -> float:
    """Of two #RRGGBB: 1 for the same, 21 for black and white."""
    lighter, darker = sorted((_product(TO_XYZ, _linear(each))[1] for each in (one, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def distance(one: str, other: str, vision: str) -> float:
    """Of two #RRGGBB as such eyes see them; 2 is just noticeable side by side."""
    return sum((a - b) ** 2 for a, b in zip(_lab(one, vision), _lab(other, vision), strict=True)) ** 0.5


def _linear(colour: str) -> list[float]:
    shares = (value / 255 for value in bytes.fromhex(colour.removeprefix("#")))
    return [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]


def _product(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def _lab(colour: str, vision: str) -> tuple[float, float, float]:
    seen = [min(max(value, 0.0), 1.0) for value in _product(VISIONS[vision], _linear(colour))]
    x, y, z = (_bent(value / white) for value, white in zip(_product(TO_XYZ, seen), WHITE_D65, strict=True))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _bent(share: float) -> float:
    return share ** (1 / 3) if share > 0.008856 else 7.787 * share + 16 / 116
