"""Attention: the plain reference, and the routes that are fast on a CPU.

Everywhere queries are `[C, H, K]` and keys and values `[S, G, K]` with G key heads; query head h reads key head
`h // (H / G)`. Keys are never expanded in memory. The fast routes serve one document whose queries are its last C
tokens; `tests/invariants` compares each with `attend_eager`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gemwright.ops.native import calls, gradients
from gemwright.ops.pointwise import soft_cap, wide
from gemwright.ops.span import Span, Tokens, visible

_BLOCK_ROWS = 256  # queries scored at a time where SDPA does not serve, and fewer where that would be more scores
_BLOCK_SCORES = 128 << 20  # bytes of float32 scores
_LEAST_BLOCK = 64


def attend_eager(
    query: Float[Tensor, "C H K"],
    key: Float[Tensor, "S G K"],
    value: Float[Tensor, "S G K"],
    seen: Bool[Tensor, "C S"],
    *,
    scale: float,
    cap: float | None,
) -> Float[Tensor, "C H K"]:
    """The reference. `seen` bool `[C, S]`, at least one key for each query → `[C, H, K]`.

    Scale, then cap, then mask (a cap after the mask would bring hidden keys back), then a float32 softmax.
    """
    heads, kv_heads = query.shape[1], key.shape[1]
    folded = query.unflatten(1, (kv_heads, heads // kv_heads))
    scores = torch.einsum("cgmk,sgk->gmcs", folded, key)
    scores = soft_cap(wide(scores) * scale, cap).masked_fill(~seen, -math.inf)
    weights = torch.softmax(scores, dim=-1).to(value.dtype)
    return torch.einsum("gmcs,sgk->cgmk", weights, value).flatten(1, 2)


def attend_documents(
    query: Float[Tensor, "N H K"],
    key: Float[Tensor, "N G K"],
    value: Float[Tensor, "N G K"],
    span: Span,
    *,
    window: int | None,
    scale: float,
    cap: float | None,
) -> Float[Tensor, "N H K"]:
    """Whole documents, none with a past: each attends within itself. `[N, H, K]`, `[N, G, K]` → `[N, H, K]`."""
    if query.dtype == torch.bfloat16 and gradients.usable(query, key, value, channels=query.shape[-1]):
        return gradients.attend(query, key, value, span, window=window, scale=scale, cap=cap)
    lengths = list(span.plan.lengths)
    ahead = [span.plan.ahead(document) for document in range(len(lengths))]
    rule = {"window": window, "scale": scale, "cap": cap}
    if len(lengths) == 1:
        return attend_tail(query, key, value, ahead[0], **rule)
    documents = zip(query.split(lengths), key.split(lengths), value.split(lengths), ahead, strict=True)
    return torch.cat([attend_tail(*document, **rule) for document in documents])


def attend_tail(
    query: Float[Tensor, "C H K"],
    key: Float[Tensor, "S G K"],
    value: Float[Tensor, "S G K"],
    ahead: Int64[Tensor, " C"] | None = None,
    *,
    window: int | None,
    scale: float,
    cap: float | None,
) -> Float[Tensor, "C H K"]:
    """One document of S tokens, the last C of which ask. query `[C, H, K]`, key, value `[S, G, K]` → `[C, H, K]`.

    `ahead` int64 `[C]`: how many later tokens each one sees (`Plan.ahead`; None: none of them any).
    """
    asked, kept = query.shape[0], key.shape[0]
    if window is not None and kept > asked + window - 1:
        key, value = key[kept - asked - window + 1 :], value[kept - asked - window + 1 :]
        kept = key.shape[0]
    windowed = window is not None and kept > window
    if cap is not None or ahead is not None:
        return _in_blocks(query, key, value, window if windowed else None, scale, cap, ahead)
    if windowed and asked > 1:
        assert window is not None
        return _banded(query, key, value, window, scale)
    if asked == 1:
        return _fold(query, key, value, scale)
    if kept == asked:
        return _causal(query, key, value, scale)
    if torch.is_grad_enabled() and query.requires_grad:
        return _masked(query, key, value, scale)
    return _past_and_own(query, key, value, scale)


def attend_all(
    query: Float[Tensor, "B P H K"], key: Float[Tensor, "B P H K"], value: Float[Tensor, "B P H K"], *, scale: float
) -> Float[Tensor, "B P H K"]:
    """Pictures of P patches each; a patch sees all of its picture. `scale` is positive. `[B, P, H, K]` → the same.

    In bfloat16 on a CPU, where no gradient is wanted, by a kernel (source/attend_all.h) of twice SDPA's speed.
    """
    tensors = query, key, value
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    served = all(tensor.dtype == torch.bfloat16 and tensor.device.type in ("cpu", "meta") for tensor in tensors)
    if served and not wanted and query.shape[-1] % 2 == 0 and calls.available():
        return calls.attend_all(*tensors, scale)
    queries, keys, values = (tensor.transpose(1, 2) for tensor in tensors)
    return F.scaled_dot_product_attention(queries, keys, values, scale=scale).transpose(1, 2)


def attend_rows(
    query: Float[Tensor, "B C H K"],
    key: Float[Tensor, "B S G K"],
    value: Float[Tensor, "B S G K"],
    bias: Float[Tensor, "B C S"] | None,
    *,
    scale: float,
    cap: float | None,
) -> Float[Tensor, "B C H K"]:
    """Decoding: B sequences with the same number C of new tokens each, the heads of a group folded into queries.

    query `[B, C, H, K]`, key, value `[B, S, G, K]` (any strides), bias `[B, C, S]`: 0 where seen, -inf where not
    (None: all is seen) → `[B, C, H, K]`.
    """
    batch, asked, heads, head_dim = query.shape
    kv_heads = key.shape[2]
    group = heads // kv_heads
    folded = query.unflatten(2, (kv_heads, group)).permute(0, 2, 3, 1, 4).reshape(batch, kv_heads, -1, head_dim)
    keys, values = key.transpose(1, 2), value.transpose(1, 2)
    if bias is not None:
        bias = bias[:, None].repeat(1, 1, group, 1)
    if cap is None:
        out = F.scaled_dot_product_attention(folded, keys, values, attn_mask=bias, scale=scale)
    else:
        scores = soft_cap(wide(folded @ keys.transpose(2, 3)) * scale, cap)
        out = torch.softmax(scores if bias is None else scores + bias, dim=-1).to(values.dtype) @ values
    return out.view(batch, kv_heads, group, asked, head_dim).permute(0, 3, 1, 2, 4).flatten(2, 3)


def _fold(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    return attend_rows(query[None], key[None], value[None], None, scale=scale, cap=None)[0]


def _by_group(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """SDPA's layout with the key heads as the batch: `[G, H / G, C, K]` and twice `[G, H / G, S, K]` (no copy)."""
    kv_heads = key.shape[1]
    group = query.shape[1] // kv_heads
    folded = query.unflatten(1, (kv_heads, group)).permute(1, 2, 0, 3)
    keys = key.transpose(0, 1)[:, None].expand(-1, group, -1, -1)
    values = value.transpose(0, 1)[:, None].expand(-1, group, -1, -1)
    return folded, keys, values


def _causal(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    out = F.scaled_dot_product_attention(*_by_group(query, key, value), is_causal=True, scale=scale)
    return out.permute(2, 0, 1, 3).flatten(1, 2)


def _masked(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Queries behind a past, with gradients: SDPA under an explicit mask."""
    asked, kept = query.shape[0], key.shape[0]
    seen = torch.ones(asked, kept, dtype=torch.bool, device=query.device).tril(kept - asked)
    out = F.scaled_dot_product_attention(*_by_group(query, key, value), attn_mask=seen, scale=scale)
    return out.permute(2, 0, 1, 3).flatten(1, 2)


def _past_and_own(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Queries behind a past, without a mask: all of the past, the causal half of their own keys, and the two joined
    by their log-sum-exps. A mask over a past of 128K tokens would weigh more than the keys."""
    past = key.shape[0] - query.shape[0]
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    if query.device.type != "cpu":
        return _masked(query, key, value, scale)
    before, seen_before = flash(*_by_group(query, key[:past], value[:past]), is_causal=False, scale=scale)
    own, seen_own = flash(*_by_group(query, key[past:], value[past:]), is_causal=True, scale=scale)
    share = torch.sigmoid(seen_own - seen_before)[..., None]
    out = torch.lerp(wide(before), wide(own), share).to(query.dtype)
    return out.permute(2, 0, 1, 3).flatten(1, 2)


def _banded(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    """A local layer's prefill: queries in blocks of B, each against the W + B keys that one of them may see, stacked
    as a batch in one call. The work grows with C · W, never with C²."""
    asked, kept = query.shape[0], key.shape[0]
    block = min(max(window // 2, _LEAST_BLOCK), asked)
    blocks = -(-asked // block)
    queries = F.pad(query, (0, 0, 0, 0, 0, blocks * block - asked)).unflatten(0, (blocks, block))
    # Keys such that block b's are rows b B … b B + W + B: `missing` rows in front, where the document has none.
    missing = window - (kept - asked)
    spare = (0, 0, 0, 0, missing, blocks * block - asked)
    keys = F.pad(key, spare).unfold(0, window + block, block).permute(0, 3, 1, 2)
    values = F.pad(value, spare).unfold(0, window + block, block).permute(0, 3, 1, 2)
    row = torch.arange(block, device=query.device)[:, None]
    column = torch.arange(window + block, device=query.device)[None]
    band = (column > row) & (column <= row + window)
    first = torch.arange(blocks, device=query.device)[:, None, None] * block
    seen = (band & (first + column >= missing))[:, None]
    group = query.shape[1] // key.shape[1]
    out = [
        F.scaled_dot_product_attention(
            queries[:, :, head * group : (head + 1) * group].transpose(1, 2),
            keys[:, None, :, head].expand(-1, group, -1, -1),
            values[:, None, :, head].expand(-1, group, -1, -1),
            attn_mask=seen,
            scale=scale,
        )
        for head in range(key.shape[1])
    ]
    return torch.cat(out, dim=1).transpose(1, 2).flatten(0, 1)[:asked]


def _in_blocks(
    query: Tensor, key: Tensor, value: Tensor, window: int | None, scale: float, cap: float | None, ahead: Tensor | None
) -> Tensor:
    """What SDPA has no form for, a soft cap or a picture's tokens that see later ones: blocks of queries against just
    the keys that they may see, recomputed for gradients."""
    asked, past = query.shape[0], key.shape[0] - query.shape[0]
    last = torch.arange(past, past + asked, device=query.device)
    last = last if ahead is None else last + ahead.to(query.device)
    seen = key.shape[0] if window is None else min(key.shape[0], window + _BLOCK_ROWS)
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_SCORES // (4 * query.shape[1] * seen)))
    out = []
    for start in range(0, asked, rows):
        stop = min(start + rows, asked)
        low = 0 if window is None else max(0, past + start - window + 1)
        high = past + stop if ahead is None else int(last[start:stop].max()) + 1
        where = past + start - low, last[start:stop] - low
        part = query[start:stop], key[low:high], value[low:high], *where, window, scale, cap
        if torch.is_grad_enabled() and query.requires_grad:
            block = checkpoint(_block, *part, use_reentrant=False)
            assert isinstance(block, Tensor)
        else:
            block = _block(*part)
        out.append(block)
    return torch.cat(out)


def _block(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    first: int,
    last: Tensor,
    window: int | None,
    scale: float,
    cap: float | None,
) -> Tensor:
    """Queries from key row `first` on, each of which sees keys up to row `last`. Shapes as in `attend_tail`."""
    asked, kept = query.shape[0], key.shape[0]
    column = torch.arange(kept, device=query.device)
    hidden = column > last[:, None]
    if window is not None:
        hidden |= column <= torch.arange(first, first + asked, device=query.device)[:, None] - window
    kv_heads = key.shape[1]
    folded = query.unflatten(1, (kv_heads, -1)).permute(1, 2, 0, 3).reshape(kv_heads, -1, query.shape[2])
    scores = soft_cap(wide(folded @ key.permute(1, 2, 0)) * scale, cap)
    scores = scores.unflatten(1, (-1, asked)).masked_fill(hidden, -math.inf)
    weights = torch.softmax(scores, dim=-1).to(value.dtype).flatten(1, 2)
    out = weights @ value.transpose(0, 1)
    return out.unflatten(1, (-1, asked)).permute(2, 0, 1, 3).flatten(1, 2)


def visible_within(span: Span, window: int | None) -> Bool[Tensor, "N N"]:
    """The eager mask of a step without memory: bool `[N, N]`."""
    tokens = span.tensors.tokens
    query = Tokens(position=tokens.position[:, None], document=tokens.document[:, None], image=tokens.image[:, None])
    return visible(query, tokens, window)
