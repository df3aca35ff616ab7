"""Counts the bytes that tensors hold while code runs, without holding them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Watches every operation of its block: `live` bytes now, `peak` at most.

    Counted are storages, once each however many views they have, from the operation that makes them until Python lets
    go of them; those of `held` (caches) are not, nor what another watch, `before`, still counts (weights). Under
    `FakeTensorMode` nothing is computed or allocated and the counts are the same.
    """

    def __init__(self, held: Iterable[Tensor] = (), before: LiveBytes | None = None) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._held = {_key(tensor) for tensor in held} | (before._seen.keys() if before else set())
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, then look at what came out of it."""
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        self.peak = max(self.peak, self.live)
        return out

    def _add(self, tensor: Tensor) -> None:
        key = _key(tensor)
        if key in self._held or key in self._seen:
            return
        storage = tensor.untyped_storage()
        size = storage.nbytes()

        def gone(_: object) -> None:
            self._seen.pop(key, None)
            self.live -= size

        self._seen[key] = weakref.ref(storage, gone)
        self.live += size


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
