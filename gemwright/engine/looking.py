"""Pictures on their way through the tower, some blocks in each step of an engine: while one is encoded, other requests
go on drawing."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from gemwright.arch.spec import Model
from gemwright.engine.eyes import Eyes
from gemwright.engine.progress import Progress
from gemwright.engine.request import PromptImage
from gemwright.engine.schedule import Part
from gemwright.image.picture import Picture
from gemwright.nn.siglip import Encoding
from gemwright.planner.count import BEGUN, parameters


class Looking:
    """What the requests of one engine have the tower do. A picture that several of them show is encoded once.

    A picture on its way holds the stream of its patches; one that is done holds its soft tokens until a step has read
    them. At most `BEGUN` are on their way: beyond, the one that was longest left alone is given up, to be begun anew.
    """

    def __init__(self, spec: Model, eyes: Eyes | None) -> None:
        """`spec`: of the decoder. `eyes`: None where no request has pictures."""
        self._spec, self._given = spec, eyes
        self._begun: OrderedDict[str, Encoding] = OrderedDict()  # by fingerprint, the one advanced last at the end
        self._done: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Pictures on their way, and those that are done and not read yet."""
        return len(self._begun) + len(self._done)

    def price(self, images: Iterable[PromptImage]) -> int:
        """What it costs to encode those that are not encoded yet, as a number of tokens that the decoder could read
        for it: at least 1, or 0 if there are none."""
        left = 0
        for picture in self._unseen(images):
            begun = self._begun.get(picture.sha256)
            left += self._eyes.spec.tower.depth if begun is None else max(1, begun.left)
        return -(-left * self._block // self._token) if left else 0

    def run(self, members: Sequence[tuple[Progress, Part]]) -> None:
        """The encoding of a step, with its time in the books of all who take part."""
        began = time.perf_counter()
        looks = [(progress, part) for progress, part in members if part.look]
        for progress, part in looks:
            self.advance(progress.coming(part.count or progress.pending), part.look)
        if looks:
            seconds = time.perf_counter() - began
            for progress, _ in members:
                progress.spend(seconds, progress.remembered < progress.prompt)

    def advance(self, images: Iterable[PromptImage], tokens: int) -> None:
        """Encodes for the price of so many tokens, one picture after the other; at least one block."""
        blocks = max(1, tokens * self._token // self._block)
        for picture in self._unseen(images):
            encoding = self._begun.pop(picture.sha256, None) or self._eyes.begin(picture)
            self._begun[picture.sha256] = encoding
            if len(self._begun) > BEGUN:
                self._begun.popitem(last=False)
            some = min(blocks, encoding.left)
            with torch.no_grad():
                encoding.advance(some)
            if not encoding.left:
                self._done[picture.sha256] = self._eyes.end(picture, encoding)
                del self._begun[picture.sha256]
            blocks -= some
            if not blocks:
                return

    def soft(self, images: Iterable[PromptImage]) -> Tensor:
        """Their soft tokens, one after the other: `[M, D]`."""
        found = ((image.picture, self._done.get(image.picture.sha256)) for image in images)
        return torch.cat([self._eyes.encode([picture]) if soft is None else soft for picture, soft in found])

    def read(self, images: Iterable[PromptImage]) -> None:
        """A step has read them: from now on only the eyes remember them."""
        for image in images:
            self._done.pop(image.picture.sha256, None)

    def keep(self, images: Iterable[PromptImage]) -> None:
        """Gives up what is held for others than these."""
        if self:
            wanted = {image.picture.sha256 for image in images}
            for held in (self._begun, self._done):
                for one in held.keys() - wanted:
                    del held[one]

    def _unseen(self, images: Iterable[PromptImage]) -> list[Picture]:
        """The different pictures among these that have no soft tokens."""
        different = {image.picture.sha256: image.picture for image in images}
        return [one for key, one in different.items() if key not in self._done and self._eyes.find(one) is None]

    @property
    def _eyes(self) -> Eyes:
        assert self._given is not None, "the door lets no picture in where there are no eyes"
        return self._given

    @cached_property
    def _block(self) -> int:
        """Multiplications of a block of the tower for one picture."""
        tower = self._eyes.spec.tower
        patches = tower.grid**2
        products = patches * (4 * tower.width**2 + 2 * tower.width * tower.hidden)
        return products + 2 * patches**2 * tower.width  # scores, and the sums that they weigh

    @cached_property
    def _token(self) -> int:
        """Multiplications of the decoder's layers for one token, attention to what came before it aside."""
        return sum(count for part, count in parameters(self._spec).items() if part not in ("table", "norms"))
