"""A curve in braille characters: each holds 2 x 4 dots."""

from collections.abc import Sequence

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a character, by row and column (Unicode, block Braille Patterns)."""


def plot(points: Sequence[tuple[float, float]], width: int, height: int, right: float, top: float) -> list[str]:
    """The line through points (x, y) as `height` lines of `width` characters; x from 0 to right, y from 0 to top."""
    cells = [[0] * width for _ in range(height)]
    dots = [_dot(x / right, y / top, 2 * width, 4 * height) for x, y in points]
    for (x0, y0), (x1, y1) in zip(dots, dots[1:] or dots, strict=False):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for k in range(steps + 1):
            x, y = x0 + round(k * (x1 - x0) / steps), y0 + round(k * (y1 - y0) / steps)
            cells[y // 4][x // 2] |= DOTS[y % 4][x % 2]
    return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in cells]


def _dot(x: float, y: float, columns: int, rows: int) -> tuple[int, int]:
    """The dot of a point of the unit square, counted from the top left."""
    return round(min(max(x, 0.0), 1.0) * (columns - 1)), round((1 - min(max(y, 0.0), 1.0)) * (rows - 1))
