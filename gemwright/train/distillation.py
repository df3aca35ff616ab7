"""Objectives that learn from a teacher: live, or from a store of what it drew."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gemwright.data.batch import Batch
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.nn.head import Head
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.distill import Distill, check
from gemwright.train.divergence import divergence, top_divergence
from gemwright.train.draw import Samples
from gemwright.train.next_token import next_token
from gemwright.train.objective import Objective, Sum
from gemwright.train.store import Store
from gemwright.train.teacher import Teacher, load_teacher


def objective_of(
    distill: Distill,
    *,
    tokenizer: Tokenizer,
    source: str,
    row: int,
    rows: int,
    vocab: int,
    quant: str | None = None,
    device: torch.device | str = "cpu",
) -> Objective:
    """The objective of a run: `tokenizer`, `source` (of its packed rows), `row` (tokens of the longest), `rows` (how
    many it reads in all) and `vocab` (rows of the student's table) are the run's; `quant`: the scheme that a live
    teacher is packed by.

    Raises `UserError` for settings that make no sense, a teacher or store of another tokenizer, and a store of other
    data, packing or draws, naming what differs, or of fewer rows.
    """
    check(distill)
    if distill.store is not None:
        store = Store(distill.store).check(
            tokenizer=tokenizer.fingerprint(),
            source=source,
            samples=distill.samples,
            seed=distill.seed,
            temperature=distill.temperature,
        )
        store.check_covers(rows)
        _check_table(distill.store, store.facts.vocab, vocab)
        return sampled(distill, store.samples)
    assert distill.teacher is not None
    teacher = load_teacher(distill.teacher, tokenizer, row=row, quant=quant, device=device)
    _check_table(distill.teacher, teacher.vocab, vocab)
    return live(distill, teacher)


def live(distill: Distill, teacher: Teacher) -> Objective:
    """Learning from a model that runs beside the student."""
    if distill.kind != "sampled":
        return whole(distill, teacher)
    return sampled(distill, lambda batch: teacher.samples(batch, distill.samples, distill.seed, distill.temperature))


def sampled(distill: Distill, drawn: Callable[[Batch], Samples]) -> Objective:
    """Cross-entropy against drawn ids, mixed with the plain loss. `drawn`: what was drawn at the tokens of a batch
    whose weight is not 0."""
    share, temperature, z = distill.share, distill.temperature, distill.z

    def objective(model: Decoder, batch: Batch) -> Sum:
        if not batch.count:
            return next_token(model, batch)
        samples = drawn(batch)
        counted = batch.weight != 0
        targets, weight, soft = batch.targets[counted], batch.weight[counted], samples.shares(distill.wording)

        def use(hidden: Tensor, head: Head) -> tuple[Tensor, Tensor]:
            hidden = hidden[counted]
            if temperature == 1.0:
                return head.mixed_cross_entropy(hidden, targets, samples.ids, soft, weight, share=share, z=z)
            total = share * head.soft_cross_entropy(
                hidden, samples.ids, soft, weight, temperature=temperature, z=z / share
            )
            with torch.set_grad_enabled(torch.is_grad_enabled() and share < 1):
                plain = head.cross_entropy(hidden, targets, weight)
            return total + (1 - share) * plain, plain.detach()

        total, plain = model(batch.ids, batch.span, use=use)
        distilled = (total.detach() - (1 - share) * plain) / share
        return Sum(total=total, count=batch.count, parts={"distilled": distilled, "plain": plain})

    return objective


def whole(distill: Distill, teacher: Teacher) -> Objective:
    """A divergence from the teacher's whole predictions, or its top tokens and the rest, mixed with the plain loss."""
    temperature, share = distill.temperature, distill.share

    def apart(logits: Tensor, target: Tensor) -> Tensor:
        """The divergence of some rows `[m, V]`."""
        kind, beta = distill.divergence, distill.beta
        if distill.kind == "top":
            return top_divergence(kind, logits, target, distill.samples, beta=beta, temperature=temperature)
        return divergence(kind, logits, target, beta=beta, temperature=temperature)

    def objective(model: Decoder, batch: Batch) -> Sum:
        device, grad = batch.ids.device, torch.is_grad_enabled()
        dtype, cast = torch.get_autocast_dtype(device.type), torch.is_autocast_enabled(device.type)
        sums = torch.zeros(2, dtype=torch.float64, device=device)

        def taught(known: Tensor, known_head: Head) -> Tensor:
            """Inside the teacher's forward: the student's, as the caller wants it."""

            def loss(logits: Tensor, rows: Tensor) -> Tensor:
                with torch.no_grad(), torch.autocast(device.type, enabled=False):
                    target = widened(teacher.logits(known_head, known[rows]), logits.shape[1])
                lse = (logits / temperature).logsumexp(1)
                distilled = apart(logits, target) + distill.z / share * temperature**2 * lse.square()
                plain = F.cross_entropy(logits, batch.targets[rows], reduction="none")
                both = torch.stack([distilled.detach(), plain.detach()]) * batch.weight[rows]
                sums.add_(both.sum(1, dtype=torch.float64))
                return share * distilled + (1 - share) * plain

            with torch.set_grad_enabled(grad), torch.autocast(device.type, dtype, enabled=cast):
                return model(batch.ids, batch.span, use=lambda hidden, head: head.reduce(hidden, batch.weight, loss))

        total = teacher.run(batch, taught)
        distilled, plain = sums.float()
        return Sum(total=total, count=batch.count, parts={"distilled": distilled, "plain": plain})

    return objective


def widened(logits: Tensor, vocab: int) -> Tensor:
    """A teacher's logits `[m, V]` for a table of more rows. They belong to no piece of text, and the teacher takes them
    for as unlikely as the unlikeliest piece: at nothing at all a reverse divergence would be infinite."""
    missing = vocab - logits.shape[1]
    if not missing:
        return logits
    return torch.cat([logits, logits.amin(1, keepdim=True).expand(-1, missing)], dim=1)


def _check_table(name: str, needed: int, vocab: int) -> None:
    if needed > vocab:
        raise UserError(
            f"{name} knows {needed} ids, and the student's table has {vocab} rows",
            hint="give the student a row for each piece of the tokenizer",
        )
