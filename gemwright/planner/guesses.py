"""What guesses add to a step: the engine keeps to it, and a plan counts it (what they are: `engine.speculate`)."""

from __future__ import annotations

from gemwright.cache.allocate import SLACK
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.ops.native import matrix as native
from gemwright.quant.block import NativeAttentionBlock, NativeRecurrentBlock
from gemwright.quant.linear import PackedEmbedding

SPECULATE = ("auto", "lookup", "off")
ROWS = 32  # proposed rows in one step, at most: each takes a row of logits


def check(speculate: str) -> None:
    """Raises `UserError` for a word that is none of `SPECULATE`."""
    if speculate not in SPECULATE:
        raise UserError(f"there is no speculation {speculate!r}", hint=f"use one of {', '.join(SPECULATE)}")


def most(sequences: int, slack: int = SLACK) -> int:
    """Rows that a step of so many sequences runs ahead at most: a cache takes `slack` of each back."""
    return min(ROWS, sequences * slack)


def bit_equal(model: Decoder) -> bool:
    """Has a row of this model's steps the same bits whatever it is run with? The native kernels' rows have: then
    speculation cannot be told from plain decoding. Elsewhere a tie of two tokens may fall the other way."""
    blocks = all(isinstance(block, NativeAttentionBlock | NativeRecurrentBlock) for block in model.layers)
    return blocks and isinstance(model.embed, PackedEmbedding) and isinstance(model.embed.matrix, native.Matrix)
