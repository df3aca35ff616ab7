"""Stores, handles and pools: the algebra of memory.

A store holds the memory of all layers of one kind, for all sequences, and is allocated once. A sequence owns a
`Handle`: its length, and a place in every store. Append, roll back, fork, snapshot, save, load and free act on handles
and copy on write; layers never know whose memory they write.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from gemwright.ops.span import Plan

Kind = Literal["global", "local", "recurrent"]


class CacheFull(ValueError):
    """No block or slot is left: free a sequence, or allocate more."""


@dataclass(eq=False, kw_only=True)
class Handle:
    """One sequence. `length` tokens are remembered; `high` is the longest that it ever was.

    What lies between them was written and taken back, or never committed. Windows and states forget: a sequence can
    stand at `length` only while `high - length` is within the slack that its stores keep.
    """

    places: list[Any]
    length: int = 0
    high: int = 0
    frozen: bool = False
    freed: bool = field(default=False)


@runtime_checkable  # the shape checks of the tests ask isinstance
class Store(Protocol):
    """The memory of all layers of one kind. `place` is what `open` gave; only the store looks inside."""

    kind: Kind
    layers: tuple[int, ...]
    tensors: dict[str, Tensor]  # all of the memory, `[L, ...]`

    def open(self) -> Any:
        """A place for a new sequence. Raises `CacheFull`."""
        ...

    def fork(self, place: Any) -> Any:
        """A second owner of the same memory; whoever writes first copies."""
        ...

    def detach(self, place: Any, length: int) -> None:
        """Own what the next token after `length` would be written to. Raises `CacheFull`."""
        ...

    def free(self, place: Any) -> None:
        """Give up the place."""
        ...

    def truncate(self, place: Any, length: int) -> None:
        """Forget what lies beyond `length` tokens."""
        ...

    def prepare(self, places: list[Any], plan: Plan) -> Any:
        """Make room for the step's tokens, own what will be written, and build the step's index tensors, once for all
        layers. Raises `CacheFull`."""
        ...

    def dump(self, place: Any, length: int) -> dict[str, Tensor]:
        """A copy of everything that a sequence of `length` tokens remembers here."""
        ...

    def restore(self, place: Any, tensors: dict[str, Tensor], length: int) -> None:
        """Write back what `dump` gave."""
        ...

    def shapes(self, length: int) -> dict[str, tuple[int, ...]]:
        """The shapes that `dump` gives at this length."""
        ...

    def bytes(self) -> int:
        """Bytes allocated."""
        ...

    def bytes_used(self, place: Any) -> int:
        """Bytes that this place keeps from others."""
        ...

    def units(self, place: Any) -> list[int]:
        """The blocks or the slot of a place, by number; all are of one size."""
        ...


class Shares:
    """Who owns which unit (block or slot) of a store: a count of owners each, lowest free unit first."""

    def __init__(self, units: int) -> None:
        self.owners = [0] * units

    def take(self, wanted: range | None = None) -> int:
        """A free unit, from `wanted` if one is free there. Raises `CacheFull`."""
        for candidates in (wanted or (), range(len(self.owners))):
            for unit in candidates:
                if self.owners[unit] == 0:
                    self.owners[unit] = 1
                    return unit
        raise CacheFull(f"all {len(self.owners)} blocks or slots of the cache are taken")

    def share(self, unit: int) -> None:
        """One more owner."""
        self.owners[unit] += 1

    def drop(self, unit: int) -> None:
        """One owner less."""
        self.owners[unit] -= 1

    def shared(self, unit: int) -> bool:
        """Does anybody else own it?"""
        return self.owners[unit] > 1


class Slots:
    """A store whose sequences hold one slot each: tensors `[L, slots, ...]`, copied whole when shared and written."""

    def __init__(self, tensors: dict[str, Tensor], slots: int) -> None:
        self.tensors = tensors
        self._shares = Shares(slots)

    def open(self) -> list[int]:
        """An empty slot, zeroed: rows that were never written take part in masked sums and must be finite."""
        slot = self._shares.take()
        for tensor in self.tensors.values():
            tensor[:, slot].zero_()
        return [slot]

    def fork(self, place: list[int]) -> list[int]:
        """Another owner of the same slot."""
        self._shares.share(place[0])
        return list(place)

    def detach(self, place: list[int], length: int) -> None:
        """Own the slot."""
        self.own(place)

    def free(self, place: list[int]) -> None:
        """Give up the slot."""
        self._shares.drop(place[0])

    def truncate(self, place: list[int], length: int) -> None:
        """Nothing to do: rows are found by position, and those beyond `length` are never looked at."""

    def own(self, place: list[int]) -> int:
        """The slot, after copying it if somebody else owns it too."""
        if self._shares.shared(place[0]):
            slot = self._shares.take()
            for tensor in self.tensors.values():
                tensor[:, slot].copy_(tensor[:, place[0]])
            self._shares.drop(place[0])
            place[0] = slot
        return place[0]

    def dump(self, place: list[int], length: int) -> dict[str, Tensor]:
        """The slot's tensors, `[L, ...]`."""
        return {name: tensor[:, place[0]].clone() for name, tensor in self.tensors.items()}

    def restore(self, place: list[int], tensors: dict[str, Tensor], length: int) -> None:
        """Fill the slot."""
        for name, tensor in self.tensors.items():
            tensor[:, place[0]].copy_(tensors[name])

    def shapes(self, length: int) -> dict[str, tuple[int, ...]]:
        """A slot's shapes; they do not depend on the length."""
        return {name: (tensor.shape[0], *tensor.shape[2:]) for name, tensor in self.tensors.items()}

    def bytes(self) -> int:
        """Bytes allocated."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def bytes_used(self, place: list[int]) -> int:
        """A slot's bytes."""
        return self.bytes() // len(self._shares.owners)

    def units(self, place: list[int]) -> list[int]:
        """The slot."""
        return list(place)
