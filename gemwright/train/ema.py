"""The average of the weights over a run, in which later steps count more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gemwright.train.optim import trained


class Average:
    """`Σ d^(t-i) w_i / Σ d^(t-i)` over the weights w_i after each step i of t, float32, with `decay` d.

    The sum of the shares is divided out (as Adam does with its moments), so the weights before the first step, which
    know nothing, have no part in it; after one step the average is those weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self.tensors: dict[str, Tensor] = {
            name: parameter.detach().float().clone() for name, parameter in trained(model).items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after `step` steps, counted from 1."""
        share = (1 - self._decay) / (1 - self._decay**step)
        for name, parameter in trained(self._model).items():
            self.tensors[name].lerp_(parameter.float(), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While the context is open, the model has the averaged weights; nothing is copied where both are float32."""
        before = {name: parameter.data for name, parameter in trained(self._model).items()}
        self.hand_over()
        try:
            yield
        finally:
            for name, parameter in trained(self._model).items():
                parameter.data = before[name]

    def hand_over(self) -> None:
        """Gives the averaged weights to the model; its own are dropped."""
        for name, parameter in trained(self._model).items():
            parameter.data = self.tensors[name].to(parameter.dtype)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back the `tensors` of an average of the same model. Raises `ValueError` for those of another."""
        if tensors.keys() != self.tensors.keys():
            raise ValueError("the average is of other weights")
        for name, tensor in tensors.items():
            self.tensors[name].copy_(tensor)
