"""Pictures → soft tokens, each encoded once: a vision tower that is loaded when it is first needed, and a memory of
what it made."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gemwright.arch.spec import Vision
from gemwright.engine.pictures import Shown, Source, show
from gemwright.engine.request import PromptImage
from gemwright.image.pan_scan import PAN_SCAN, PanScan
from gemwright.image.picture import Picture
from gemwright.image.resize import pixels
from gemwright.nn.gemma import Tower
from gemwright.nn.siglip import Encoding

# About fifty pictures of the widest published decoder in bfloat16, or a hundred of the narrowest that sees.
_BUDGET = 128 * 2**20


class SoftCache:
    """Soft tokens by tower and picture, those used last; several towers and engines may share one."""

    def __init__(self, budget: int = _BUDGET) -> None:
        """`budget`: bytes that it keeps at most."""
        self.budget = budget
        self.bytes = 0
        self._held: OrderedDict[tuple[str, str], Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, tower: str, picture: str) -> Tensor | None:
        """What the tower of that digest made of the picture of that fingerprint, if it is still there."""
        found = self._held.get((tower, picture))
        if found is not None:
            self._held.move_to_end((tower, picture))
        return found

    def put(self, tower: str, picture: str, soft: Tensor) -> None:
        """Keep it, in place of what was not used for longest. What is larger than the budget is not kept."""
        key, size = (tower, picture), soft.numel() * soft.element_size()
        if key in self._held or size > self.budget:
            return
        self._held[key] = soft
        self.bytes += size
        while self.bytes > self.budget:
            _, old = self._held.popitem(last=False)
            self.bytes -= old.numel() * old.element_size()


class Eyes:
    """How engines see. The tower is loaded at the first picture; several engines of one model may share it."""

    def __init__(
        self,
        load: Callable[[], Tower],
        cache: SoftCache | None = None,
        rule: Callable[[], tuple[PanScan, bool]] = lambda: (PAN_SCAN, False),
    ) -> None:
        """`load` gives the tower, or raises `UserError` where it cannot be read. `cache`: default: one of its own.
        `rule`: how pan and scan cuts pictures for this model, and whether it does so unasked."""
        self._load, self._rule = load, rule
        self._tower: Tower | None = None
        self._digest = ""
        self.cache = SoftCache() if cache is None else cache

    @property
    def tower(self) -> Tower:
        """The tower, loaded if it was not. Raises `UserError` where there is none."""
        if self._tower is None:
            tower = self._load()
            self._digest, self._tower = tower.digest(), tower
        return self._tower

    @property
    def loaded(self) -> bool:
        """Whether the tower is in memory."""
        return self._tower is not None

    @property
    def spec(self) -> Vision:
        """The tower's shape."""
        return self.tower.spec

    @property
    def soft(self) -> int:
        """Soft tokens of one picture."""
        return self.spec.tokens

    @property
    def width(self) -> int:
        """Of the decoder that the tower was made for."""
        return self.tower.projector.weight.shape[1]

    def check(self, images: Sequence[PromptImage], width: int) -> None:
        """Raises `ValueError` for pictures that are not made for this tower, and for a decoder of another `width`."""
        if self.width != width:
            raise ValueError(f"a tower for a width of {self.width} cannot serve one of {width}")
        if wrong := [image.count for image in images if image.count != self.soft]:
            raise ValueError(f"a picture has {self.soft} soft tokens here, not {wrong[0]}")

    def show(self, source: Source, *, pan_scan: bool | None = None, name: str = "") -> Shown:
        """A picture as the tower takes it, see `pictures.show`. `pan_scan`: cut it, if it is wide or tall; None: as the
        model's makers want it, which is mostly not."""
        side = self.spec.tower.image
        rule, unasked = self._rule()
        return show(source, side, rule=rule if (unasked if pan_scan is None else pan_scan) else None, name=name)

    def encode(self, pictures: Sequence[Picture]) -> Tensor:
        """Soft tokens of all pictures, one after the other: `[M, D]` in the tower's dtype, on its device.

        A picture goes through the tower alone, so that its soft tokens depend on nothing else.
        """
        parts = []
        for picture in pictures:
            soft = self.find(picture)
            if soft is None:
                encoding = self.begin(picture)
                with torch.no_grad():
                    encoding.advance(encoding.left)
                soft = self.end(picture, encoding)
            parts.append(soft)
        return torch.cat(parts)

    def find(self, picture: Picture) -> Tensor | None:
        """A picture's soft tokens `[T, D]`, if they are remembered."""
        return self.cache.get(*self._key(picture))

    @torch.no_grad()
    def begin(self, picture: Picture) -> Encoding:
        """A picture on its way through the tower, for who wants to run some blocks at a time."""
        values = torch.from_numpy(pixels(picture, self.spec.tower.image))
        return self.tower.encoder.begin(values[None].to(self.tower.device))

    @torch.no_grad()
    def end(self, picture: Picture, encoding: Encoding) -> Tensor:
        """Its soft tokens `[T, D]` once no block is left; they are remembered."""
        soft = self.tower.projector(encoding.patches())[0]
        self.cache.put(*self._key(picture), soft)
        return soft

    def _key(self, picture: Picture) -> tuple[str, str]:
        """What the cache knows it by; the tower is loaded then."""
        _ = self.tower
        return self._digest, picture.sha256
