"""Named adapters beside a model's weights: each row of a step may have another one, or none.

The weights stay as they are, packed or quantised; nothing is merged. A step is told by `Decoder.forward(adapters=…)`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.linear import Linear
from gemwright.ops.addends import Addend, Chosen
from gemwright.ops.low_rank import Adapter


@dataclass(eq=False, kw_only=True)
class Held:
    """An adapter that is held: its number among the others, and a hash over all that it is made of. `users`: requests
    under way that have it."""

    name: str
    number: int
    fingerprint: str
    nbytes: int
    users: int = field(default=0)


class Adapters:
    """The adapters of one model, by name. They take float32 memory on its device."""

    def __init__(self, spec: Model, device: torch.device | str) -> None:
        self._spec, self._device = spec, device
        self._held: dict[str, Held] = {}
        self._layers: list[dict[str, dict[int, Addend]]] = [{} for _ in spec.layers]

    def __iter__(self) -> Iterator[str]:
        """The names, in the order in which they came."""
        return iter(self._held)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(held.nbytes for held in self._held.values())

    def add(self, name: str, adapter: Adapter) -> None:
        """Hold an adapter under a name.

        Raises `UserError` for an empty name and one that is taken, `ValueError` for a module that the model does not
        have, or one of another shape.
        """
        if not name:
            raise UserError("an adapter's name is empty", hint="give it a name")
        if name in self._held:
            raise UserError(f"there is an adapter called {name!r} already", hint="remove it, or choose another name")
        _check(self._spec, adapter)
        number = next(n for n in range(len(self._held) + 1) if all(n != one.number for one in self._held.values()))
        nbytes = 0
        for path, pair in adapter.modules.items():
            _, index, module = path.split(".", 2)  # layers.0.mixer.query
            addend = Addend(pair, self._device)
            self._layers[int(index)].setdefault(module, {})[number] = addend
            nbytes += addend.nbytes
        self._held[name] = Held(name=name, number=number, fingerprint=_fingerprint(adapter), nbytes=nbytes)

    def remove(self, name: str) -> None:
        """Give an adapter's memory back. Raises `UserError` for an unknown name, and while requests have it."""
        held = self._find(name)
        if held.users:
            raise UserError(
                f"the adapter {name!r} is in use, by {held.users} of the requests under way",
                hint="wait for them, or cancel them",
            )
        del self._held[name]
        for layer in self._layers:
            for own in layer.values():
                own.pop(held.number, None)

    def find(self, name: str | None) -> Held | None:
        """The adapter of a name; None for none. Raises `UserError` that lists the known ones."""
        return None if name is None else self._find(name)

    def fingerprint(self, name: str | None) -> str:
        """What tells an adapter from any other, whatever it is called; "" for none. Raises as `find`."""
        return "" if name is None else self._find(name).fingerprint

    def chosen(self, held: Sequence[Held | None], counts: Sequence[int]) -> Chosen | None:
        """The adapters of a step of `counts[d]` rows with `held[d]` each; None where no row has one."""
        if not any(held):
            return None
        numbers = [-1 if one is None else one.number for one in held]
        rows = torch.tensor(numbers, dtype=torch.int64).repeat_interleave(torch.tensor(counts))
        return Chosen(self._layers, rows.to(self._device))

    def _find(self, name: str) -> Held:
        held = self._held.get(name)
        if held is None:
            known = ", ".join(self._held)
            raise UserError(
                f"no adapter is called {name[:200]!r}",
                hint=f"there are: {known}" if known else "none is loaded: give some when the model is loaded",
            )
        return held


def _check(spec: Model, adapter: Adapter) -> None:
    with torch.device("meta"):
        model = Decoder(spec)
    shapes = {path: tuple(module.weight.shape) for path, module in model.named_modules() if isinstance(module, Linear)}
    for path, pair in adapter.modules.items():
        if (shape := shapes.get(path)) != (pair.b.shape[0], pair.a.shape[1]):
            raise ValueError(f"an adapter for {path} of {pair.b.shape[0]} × {pair.a.shape[1]}; the model's is {shape}")


def _fingerprint(adapter: Adapter) -> str:
    found = hashlib.sha256()
    for path, pair in sorted(adapter.modules.items()):
        found.update(f"{path} {tuple(pair.a.shape)} {tuple(pair.b.shape)} {pair.scale!r}".encode())
        for half in (pair.a, pair.b):
            found.update(_bytes(half))
    return found.hexdigest()[:32]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
