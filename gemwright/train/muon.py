"""Muon for matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_STEPS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315  # of the quintic whose repetition brings singular values near 1
_SIZE = 0.2  # the usual root mean square of AdamW's update


class Muon(torch.optim.AdamW):
    """Groups with `orthogonal` move each matrix by its momentum's nearest semi-orthogonal matrix (Jordan et al.,
    "Muon", 2024): every direction in which a gradient points is followed equally far, not the few loud ones alone.
    Updates have the size of AdamW's (Liu et al., "Muon is scalable for LLM training", 2025), so rates and decay mean
    the same for both. The other groups are AdamW's."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all groups."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["orthogonal"]]
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["orthogonal"]:
                for matrix in group["params"]:
                    if matrix.grad is not None:
                        self._move(matrix, matrix.grad, group)
        return loss

    def _move(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        keep = group["momentum"]
        momentum = state["momentum"].mul_(keep).add_(gradient)
        update = orthogonal(gradient.add(momentum, alpha=keep).flatten(1))  # Nesterov's; patches are taken as rows
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update.view_as(matrix), alpha=-group["lr"] * _SIZE * max(update.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """`[M, N]` → `[M, N]`, with singular values between about 0.7 and 1.2 in place of the matrix's own, those far below
    the largest excepted. Computed in bfloat16 by Newton-Schulz steps."""
    found = matrix.bfloat16()
    tall = found.shape[0] > found.shape[1]
    if tall:
        found = found.T
    found = found / (found.norm() + 1e-7)
    for _ in range(_STEPS):
        square = found @ found.T
        found = _A * found + (_B * square + _C * square @ square) @ found
    return (found.T if tall else found).to(matrix.dtype)
