"""Distillation: the head in chunks is the whole, draws are right on average and the same everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
import torch
import torch.nn.functional as F
from equivalence import GRADIENTS, LOGITS, VALUES, equivalence, off, same_bits
from torch import Tensor

import gemwright.nn.head as head_module
from gemwright.data.batch import Batch, Row
from gemwright.nn.embed import Embedding
from gemwright.nn.head import Head
from gemwright.ops.span import span
from gemwright.train.distill import Distill
from gemwright.train.distillation import live, sampled
from gemwright.train.divergence import Divergence, divergence, top_divergence
from gemwright.train.draw import Wording, draw
from gemwright.train.objective import Objective
from gemwright.train.store import Facts, Store, create
from gemwright.train.teach import split
from gemwright.train.teacher import Teacher

VOCAB = small.VOCAB
KINDS: tuple[Divergence, ...] = ("forward", "reverse", "js")


def settings(**changes: object) -> Distill:
    """Sampled, as the report words it, of a live teacher."""
    base: dict = {"teacher": "live", "store": None, "kind": "sampled", "wording": "report", "samples": 64, "seed": 3}
    base |= {"divergence": "forward", "beta": 0.5, "temperature": 1.0, "share": 1.0, "z": 0.0}
    return Distill(**base | changes)


def batch(rows: list[list[int]], first: int = 0, seed: int = 0) -> Batch:
    """Rows of documents of these lengths, numbered from `first`; every fifth token counts for nothing. A row's text
    depends on its number alone."""
    texts = [small.text(seed + first + index, sum(lengths) + 1) for index, lengths in enumerate(rows)]
    weight = torch.cat([0.5 + 0.5 * (torch.arange(len(text) - 1) % 3) for text in texts])
    weight[torch.cat([torch.arange(len(text) - 1) for text in texts]) % 5 == 4] = 0.0
    return Batch(
        ids=torch.cat([text[:-1] for text in texts]),
        targets=torch.cat([text[1:] for text in texts]),
        weight=weight,
        span=span([length for lengths in rows for length in lengths]),
        rows=tuple(Row(serial=first + index, tokens=sum(lengths)) for index, lengths in enumerate(rows)),
    )


def problem(cap: float | None) -> tuple[Head, Tensor, Tensor, Tensor]:
    """A head, hidden states `[20, D]`, the table and weights, float64; scores pass the cap."""
    embed: Embedding = small.awake(small.SPECS["local"], torch.float64).embed
    generator = torch.Generator().manual_seed(2)
    hidden = (4 * torch.randn(20, embed.weight.shape[1], generator=generator)).double().requires_grad_()
    weight = torch.rand(20, generator=generator) * (torch.arange(20) % 4 > 0)
    return Head(embed, cap), hidden, embed.weight, weight


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    """The loss itself and its gradients, flat."""
    return [loss.detach().reshape(1), *(grad.flatten() for grad in torch.autograd.grad(loss, inputs))]


@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize(("temperature", "z"), [(1.0, 0.0), (2.0, 0.05)])
@equivalence("soft targets in chunks = autograd of the formula on the whole, in float64", "round")
def test_soft_targets(cap: float | None, temperature: float, z: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "_CHUNK_BYTES", 3 * 8 * VOCAB)
    head, hidden, table, weight = problem(cap)
    ids, shares = torch.randint(0, VOCAB, (20, 7)), torch.rand(20, 7)
    chunked = head.soft_cross_entropy(hidden, ids, shares, weight, temperature=temperature, z=z)
    logits = head.logits(hidden) / temperature
    rows = (shares * -logits.log_softmax(1).gather(1, ids)).sum(1) + z * logits.logsumexp(1) ** 2
    whole = temperature**2 * (weight * rows).sum()
    for mine, reference in zip(gradients(chunked, hidden, table), gradients(whole, hidden, table), strict=True):
        assert off(mine, reference) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top", [False, True])
@equivalence("whole rows of logits in chunks = all at once, in float64", "round")
def test_whole_rows(kind: Divergence, top: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "_CHUNK_BYTES", 5 * 8 * VOCAB)
    monkeypatch.setattr(head_module, "_BLOCK_BYTES", 2 * 4 * VOCAB)
    head, hidden, table, weight = problem(5.0)
    teacher = 3 * torch.randn(20, VOCAB).double()

    def apart(logits: Tensor, rows: Tensor) -> Tensor:
        if top:
            return top_divergence(kind, logits, teacher[rows], 9, beta=0.3, temperature=1.5)
        return divergence(kind, logits, teacher[rows], beta=0.3, temperature=1.5)

    chunked = head.reduce(hidden, weight, apart)
    whole = (weight * apart(head.logits(hidden), torch.arange(20))).sum()
    for mine, reference in zip(gradients(chunked, hidden, table), gradients(whole, hidden, table), strict=True):
        assert off(mine, reference) < 1e-9


def drawn_gradients(wording: Wording, logits: Tensor, teacher: Tensor, times: int, samples: int) -> Tensor:
    """The gradient of each of many independent draws with respect to one row of student's scores: `[times, V]`."""
    place = torch.arange(times)
    found = draw(teacher.expand(times, -1), samples, 11, place, torch.zeros_like(place))
    q = torch.zeros(times, VOCAB).double().scatter_add_(1, found.ids, found.shares(wording).double())
    return logits.softmax(0) - q


@equivalence(
    "sampled ids counted = the full divergence, in the mean of the gradient; the report's wording leans", "round"
)
def test_sampled_ids_are_right_on_average(record_property: pytest.RecordProperty) -> None:
    """20,000 sets of 16 draws. For an unbiased gradient the squared distance of the mean from the truth, in standard
    errors, is chi-squared over the coordinates; the bias of the other wording is measured in the same unit."""
    generator = torch.Generator().manual_seed(4)
    logits, teacher = (2 * torch.randn(VOCAB, generator=generator).double() for _ in range(2))
    student = logits.clone().requires_grad_()
    (exact,) = torch.autograd.grad(divergence("forward", student[None], teacher[None]).sum(), student)
    distances, errors = {}, {}
    for wording in ("counts", "report"):
        found = drawn_gradients(wording, logits, teacher, times=20_000, samples=16)
        mean, error = found.mean(0), found.std(0) / len(found) ** 0.5
        distances[wording] = ((mean - exact) / error).square().mean().item() ** 0.5
        errors[wording] = ((mean - exact).norm() / exact.norm()).item()
    record_property("relative bias", errors)
    print("relative distance of the mean gradient from the full one:", errors)
    assert distances["counts"] < 1 + 4 / (2 * VOCAB) ** 0.5  # the root of a mean square, which is 1 ± 1/√(2V)
    assert distances["report"] > 10 and errors["report"] > 10 * errors["counts"]


@pytest.mark.parametrize("name", ["local", "recurrent"])
@equivalence("a teacher's draws do not depend on the batch around them", "bit")
def test_draws_in_any_batch(name: str) -> None:
    """Rows together and alone; float64, so that the teacher's own noise between batches moves no draw."""
    teacher = Teacher(name=name, model=small.model(name, torch.float64), vocab=VOCAB)
    rows = [[9, 4], [17], [3, 3, 5]]
    together = split(whole := batch(rows, first=40), teacher.samples(whole, 32, seed=5))
    for index, lengths in enumerate(rows):
        alone = batch([lengths], first=40 + index)
        (found,) = split(alone, teacher.samples(alone, 32, seed=5))
        for field in ("entries", "ids", "counts"):
            mine, reference = (torch.from_numpy(getattr(one, field)) for one in (found, together[index]))
            assert same_bits(mine, reference)


def run(objective: Objective, lessons: list[Batch]) -> list[Tensor]:
    """The loss per batch and the gradients of a fresh student, over some batches."""
    student = small.awake(small.SPECS["recurrent"])
    totals = []
    for lesson in lessons:
        found = objective(student, lesson)
        found.total.backward()
        totals.append(found.total.detach() / found.count)
    return [torch.stack(totals), *(parameter.grad for parameter in student.parameters() if parameter.grad is not None)]


def stored(folder: Path, teacher: Teacher, lessons: list[Batch], chosen: Distill) -> Store:
    """A store of all rows of some batches, drawn one row at a time."""
    facts = {"teacher": "t", "digest": "d", "tokenizer": "k", "source": "s", "vocab": VOCAB, "seed": chosen.seed}
    rows = [
        draws
        for lesson in lessons
        for draws in split(lesson, teacher.samples(lesson, chosen.samples, chosen.seed, chosen.temperature))
    ]
    store = create(folder, Facts(**facts, samples=chosen.samples, temperature=chosen.temperature, shard=2))
    for number in range(0, len(rows), 2):
        store.write(number // 2, rows[number : number + 2])
    return store


@pytest.mark.parametrize("wording", ["report", "counts"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@equivalence("a store feeds a run as the live teacher does: ids at 99.9% of positions, losses within 1e-3", "round")
def test_store_is_live(wording: Wording, temperature: float, tmp_path: Path) -> None:
    """A Gemma 3 teaches a RecurrentGemma. The store is written a row at a time and read two at a time."""
    teacher = Teacher(name="local", model=small.model("local"), vocab=VOCAB)
    chosen = settings(wording=wording, temperature=temperature, share=0.7)
    lessons = [batch([[40, 13], [60]], first=at) for at in (0, 2)]
    single = [batch([lengths], first=at) for at, lengths in enumerate([[40, 13], [60]] * 2)]
    store = stored(tmp_path / "store", teacher, single, chosen)
    same = total = 0
    for lesson in lessons:
        here, there = teacher.samples(lesson, chosen.samples, chosen.seed, temperature), store.samples(lesson)
        assert here.ids.shape == there.ids.shape
        same += int(((here.ids == there.ids) & (here.counts == there.counts)).all(1).sum())
        total += len(here.ids)
    assert same >= 0.999 * total > 100
    mine, reference = run(sampled(chosen, store.samples), lessons), run(live(chosen, teacher), lessons)
    assert (mine[0] - reference[0]).abs().max() < 1e-3
    for one, other in zip(mine[1:], reference[1:], strict=True):
        assert off(one, other) < 1e-3


@pytest.mark.parametrize("kind", ["sampled", "full", "top"])
@equivalence("distillation in micro-batches = in one, loss and gradients", "round")
def test_micro_batches(kind: str) -> None:
    teacher = Teacher(name="local", model=small.model("local"), vocab=VOCAB)
    objective = live(settings(kind=kind, share=0.6, z=1e-3), teacher)

    def summed(lessons: list[Batch]) -> list[Tensor]:
        student = small.awake(small.SPECS["recurrent"])
        totals = [objective(student, lesson).total for lesson in lessons]
        torch.stack(totals).sum().backward()
        return [sum(totals).detach().reshape(1), *(parameter.grad for parameter in student.parameters())]

    rows = [[9, 4], [17], [3, 3, 5]]
    apart = [batch([lengths], first=index) for index, lengths in enumerate(rows)]
    for one, other in zip(summed([batch(rows)]), summed(apart), strict=True):
        assert off(one, other) < max(3 * LOGITS, GRADIENTS)


@equivalence("full divergence of a live teacher = the formula on whole logits", "round")
def test_full_divergence() -> None:
    """The forward one, mixed with the plain loss, of a Gemma 3 on a RecurrentGemma."""
    lesson = batch([[20, 7], [11]])
    teacher = Teacher(name="local", model=small.model("local"), vocab=VOCAB)
    student = small.awake(small.SPECS["recurrent"])
    found = live(settings(kind="full", temperature=2.0, share=0.75), teacher)(student, lesson)
    known = teacher.run(lesson, lambda hidden, head: head.logits(hidden))
    logits = student(lesson.ids, lesson.span, use=lambda hidden, head: head.logits(hidden))
    kl = F.kl_div((logits / 2).log_softmax(1), (known / 2).log_softmax(1), reduction="none", log_target=True).sum(1)
    plain = F.cross_entropy(logits, lesson.targets, reduction="none")
    wanted = (lesson.weight * (0.75 * 4 * kl + 0.25 * plain)).sum()
    assert off(found.total.reshape(1), wanted.reshape(1)) < VALUES
    torch.testing.assert_close(found.parts["plain"], (lesson.weight * plain).sum().detach())
    torch.testing.assert_close(found.parts["distilled"], (lesson.weight * 4 * kl).sum().detach())
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    ours, theirs = (torch.autograd.grad(loss, parameters) for loss in (found.total, wanted))
    for one, other in zip(ours, theirs, strict=True):
        assert off(one, other) < 3 * LOGITS
