"""A tiny vision tower for the tiny models, which counts what it encodes."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.engine.eyes import Eyes, SoftCache
from gemwright.nn.gemma import Tower
from gemwright.nn.siglip import Encoding

WIDTH, SIDE, SOFT = 64, 28, 4
VISION = Vision(
    tower=Encoder(image=SIDE, patch=14, width=16, hidden=24, heads=2, depth=1, norm_epsilon=1e-6), tokens=SOFT
)


def draw_tower(seed: int = 0, width: int = WIDTH, vision: Vision = VISION) -> Tower:
    """Every parameter drawn from one seed."""
    generator = torch.Generator().manual_seed(seed)
    tower = Tower(vision, width)
    with torch.no_grad():
        for parameter in tower.parameters():
            scale = 0.4 if parameter.dim() == 1 else 2.0 / parameter[0].numel() ** 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        tower.projector.weight.mul_(4.0)
    return tower.eval()


class Counting:
    """A loader of one tower: how often it was asked, and how many pictures went through the tower."""

    def __init__(self, seed: int = 0, width: int = WIDTH, vision: Vision = VISION) -> None:
        self.loads = self.pictures = 0
        self.tower = draw_tower(seed, width, vision)
        begin = self.tower.encoder.begin

        def counted(pixels: Tensor) -> Encoding:
            self.pictures += len(pixels)
            return begin(pixels)

        self.tower.encoder.begin = counted  # type: ignore[method-assign]

    def __call__(self) -> Tower:
        self.loads += 1
        return self.tower

    def eyes(self, cache: SoftCache | None = None) -> Eyes:
        return Eyes(self, cache)


def noise(seed: int, width: int = 40, height: int = 30) -> numpy.ndarray:
    """uint8 `[height, width, 3]`."""
    return numpy.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=numpy.uint8)
