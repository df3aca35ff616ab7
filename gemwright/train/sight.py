"""How the batches of a run get their soft tokens: from a tower, frozen or tuned, or from what one made ahead."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gemwright.data.batch import Batch
from gemwright.data.pictures import Shown
from gemwright.data.tokens import TokenFile
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.train import tower as towers
from gemwright.train.embeddings import Embeddings
from gemwright.train.encode import look
from gemwright.train.run import Run

_BUDGET = 256 << 20  # bytes of soft tokens that a frozen tower's run remembers


class Sight(Protocol):
    """`tower`: the one that is trained along, if there is one."""

    tower: Tower | None

    def soft(self, pictures: Sequence[Shown]) -> Tensor:
        """`[pictures, tokens, width]` of at least one picture, with a graph where the tower is trained."""
        ...

    def check(self, files: Sequence[TokenFile]) -> None:
        """Raises `UserError` where not all pictures of the files can be seen."""
        ...


def see(sight: Sight | None, batch: Batch) -> Batch:
    """The batch with the soft tokens of its pictures; itself where it has none."""
    if not batch.pictures:
        return batch
    if sight is None:
        raise ValueError("a batch shows pictures, and this run looks at none")
    different = {one.sha256: one for one in batch.pictures}  # what comes twice in a batch is looked at once
    numbers = dict(zip(different, range(len(different)), strict=True))
    soft = sight.soft(list(different.values())).to(batch.ids.device)
    which = torch.tensor([numbers[one.sha256] for one in batch.pictures], device=soft.device)
    return replace(batch, soft=soft[which].flatten(0, 1))


def open_sight(run: Run, generator: torch.Generator, device: torch.device, *, fresh: bool) -> Sight | None:
    """How `run` looks at pictures; None where it looks at none. `generator` and `fresh` as in `begin.build`. Raises
    `UserError` where a tower or embeddings do not fit."""
    if run.pictures is None:
        return None
    if run.pictures.embeddings is not None:
        return Ahead(run, device)
    tower = towers.build(run, generator, device, fresh=fresh)
    return Tuned(tower, recompute=run.step.recompute) if run.pictures.tower == "tuned" else Frozen(tower)


class Tuned:
    """Through a tower that is trained. `recompute`: pixels alone are kept for the gradient, and the tower is run again;
    the result is the same."""

    def __init__(self, tower: Tower, *, recompute: bool = False) -> None:
        self.tower: Tower | None = tower
        self._run: Callable[[Tensor], Tensor] = tower.encode
        self._recompute, self._side = recompute, tower.spec.tower.image

    def soft(self, pictures: Sequence[Shown]) -> Tensor:
        """See `Sight`."""
        pixels = torch.from_numpy(numpy.stack([one.pixels(self._side) for one in pictures]))
        if self._recompute and torch.is_grad_enabled():
            found = checkpoint(self._run, pixels, use_reentrant=False, preserve_rng_state=False)
            assert isinstance(found, Tensor)
            return found
        return self._run(pixels)

    def check(self, files: Sequence[TokenFile]) -> None:
        """Every picture was there when the texts were read."""


class Frozen:
    """Through a tower that stays as it is, without a gradient; what it made last is remembered."""

    tower: Tower | None = None  # none that is trained

    def __init__(self, tower: Tower, budget: int = _BUDGET) -> None:
        self._tower, self._left = tower, budget
        self._made: OrderedDict[str, Tensor] = OrderedDict()

    def soft(self, pictures: Sequence[Shown]) -> Tensor:
        """See `Sight`."""
        return torch.stack([self._one(shown) for shown in pictures])

    def _one(self, shown: Shown) -> Tensor:
        if (found := self._made.get(shown.sha256)) is not None:
            self._made.move_to_end(shown.sha256)
            return found
        found = look(self._tower, shown)
        self._made[shown.sha256] = found
        self._left -= found.numel() * found.element_size()
        while self._left < 0:
            _, oldest = self._made.popitem(last=False)
            self._left += oldest.numel() * oldest.element_size()
        return found

    def check(self, files: Sequence[TokenFile]) -> None:
        """Every picture was there when the texts were read."""


class Ahead:
    """From what the tower of the run's start made ahead. Raises `UserError` for the embeddings of another one, or of
    another size than the run's model takes."""

    tower: Tower | None = None

    def __init__(self, run: Run, device: torch.device) -> None:
        assert run.pictures is not None and run.pictures.embeddings is not None and run.model.vision is not None
        self._made = Embeddings(run.pictures.embeddings)
        facts, wanted = self._made.facts, (run.model.vision.tokens, run.model.width)
        if (facts.tokens, facts.width) != wanted:
            raise UserError(
                f"{self._made.folder} has {facts.tokens} soft tokens of width {facts.width} for a picture, and the "
                f"model takes {wanted[0]} of {wanted[1]}",
                hint="encode with the model that the run starts from",
            )
        if run.start is None:
            return  # nothing says whose they should be
        if towers.build(run, torch.Generator(), device, fresh=True).digest() != facts.tower:
            raise UserError(
                f"{self._made.folder} was made by another tower than that of {run.start}, or in another dtype",
                hint="encode with the model that the run starts from",
            )

    def soft(self, pictures: Sequence[Shown]) -> Tensor:
        """See `Sight`."""
        return torch.stack([self._made.soft(shown.sha256) for shown in pictures])

    def check(self, files: Sequence[TokenFile]) -> None:
        """Raises `UserError` where a picture was not encoded."""
        self._made.check_covers(shown.sha256 for file in files for shown in file.shown)


def together(model: Decoder, sight: Sight | None) -> nn.Module:
    """All that a run trains, as one module: the decoder itself or, beside a tuned tower, both."""
    return model if sight is None or sight.tower is None else nn.ModuleDict({"decoder": model, "tower": sight.tower})
