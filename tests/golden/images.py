"""Creates test images from a number, a width and a height: stripes with noise. Rust creates the same ones (crates/tools/tests/backbones.rs)."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIZES = [
    (224, 224), (225, 224), (224, 225), (223, 223), (256, 256), (257, 255), (512, 512), (511, 513), (640, 480), (480, 640),
    (641, 479), (333, 500), (500, 333), (1024, 683), (767, 1023), (31, 47), (47, 31), (7, 5), (1, 1), (1, 9), (9, 1), (2, 3),
    (64, 64), (63, 65), (128, 96), (97, 131), (100, 300), (301, 99), (17, 211), (213, 19), (450, 449), (448, 448), (447, 451),
    (336, 336), (335, 671), (899, 224), (224, 901), (300, 225), (226, 299), (1280, 721), (719, 405), (113, 227), (229, 117),
    (389, 397), (401, 409), (577, 433), (431, 587), (150, 149), (151, 600), (601, 153),
]
"""Fifty sizes, most of them odd."""


def pattern(number: int, width: int, height: int) -> np.ndarray:
    """Returns `[height, width, 3]` bytes. Every second image is only noise, where rounding shows most."""
    x = np.arange(width, dtype=np.uint32)[None, :, None]
    y = np.arange(height, dtype=np.uint32)[:, None, None]
    c = np.arange(3, dtype=np.uint32)[None, None, :]
    mixed = (x + y * np.uint32(4093) + c * np.uint32(65537)) * np.uint32(2654435761) + np.uint32(number * 40503)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(2246822519)
    noise = mixed >> np.uint32(24)
    if number % 2 == 1:
        return noise.astype(np.uint8)
    stripes = (x * np.uint32(3 + number) // np.uint32(2) + y * (c + np.uint32(2))) & np.uint32(255)
    return ((stripes * np.uint32(7) + noise) // np.uint32(8)).astype(np.uint8)


def image(number: int, width: int, height: int) -> Image.Image:
    """Returns the pattern as a Pillow image."""
    return Image.fromarray(pattern(number, width, height))
