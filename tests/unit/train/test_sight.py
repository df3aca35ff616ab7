"""A run's pictures: encoded on the way, ahead or by a tower that learns, it is the same step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import paint
import pytest
import torch
from torch import Tensor

from gemwright.data.batch import Batch
from gemwright.data.documents import read
from gemwright.data.pack import Packer
from gemwright.data.tokens import TokenFile, tokenise
from gemwright.errors import UserError
from gemwright.lora import Lora
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise, initialise_tower
from gemwright.ops.span import Image, span
from gemwright.text.tokenizer import Tokenizer
from gemwright.train import sight
from gemwright.train.embeddings import Embeddings
from gemwright.train.encode import encode
from gemwright.train.loop import train
from gemwright.train.next_token import next_token
from gemwright.train.pictures import FROZEN, Pictures
from gemwright.train.run import Run
from gemwright.train.sight import Ahead, Frozen, Tuned, see, together
from gemwright.train.tower import build
from gemwright.weights.save import save

MakeRun = Callable[..., Run]
CPU = torch.device("cpu")


def _tower(run: Run, seed: int = 3) -> Tower:
    """A tower that is awake."""
    assert run.model.vision is not None
    made = Tower(run.model.vision, run.model.width)
    generator = torch.Generator().manual_seed(seed)
    initialise_tower(made, generator)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return made


def _decoder(run: Run) -> Decoder:
    model = Decoder(run.model)
    initialise(model, torch.Generator().manual_seed(1))
    return model


def _tokens(run: Run, tokenizer: Tokenizer, folder: Path) -> TokenFile:
    return tokenise(read(run.data.sources), tokenizer, folder, picture_tokens=run.picture_tokens)


def _with_embeddings(run: Run, made: Tower, folder: Path) -> Run:
    encode(read(run.data.sources), made, folder)
    return replace(run, pictures=Pictures(tower="frozen", embeddings=str(folder)))


def _gradients(model: torch.nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_embeddings_made_ahead_give_a_frozen_towers_step_to_the_bit(
    make_seeing: MakeRun, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    run, model = make_seeing(), _decoder(make_seeing())
    made = _tower(run)
    ahead = Ahead(_with_embeddings(run, made, tmp_path / "ahead"), CPU)
    packer = Packer(_tokens(run, tokenizer, tmp_path / "tokens"), row=64, seed=1)
    batch = packer.take(packer.rows)
    assert len(batch.pictures) > 5
    one, other = (_gradients(model, next_token(model, see(through, batch)).total) for through in (Frozen(made), ahead))
    assert one.keys() == other.keys() and len(one) > 10
    assert all(torch.equal(gradient, other[name]) for name, gradient in one.items())
    assert all(parameter.grad is None for parameter in made.parameters())


@pytest.mark.parametrize("autocast", [False, True])
def test_a_frozen_towers_soft_tokens_depend_on_nothing_around_them(make_seeing: MakeRun, autocast: bool) -> None:
    made = _tower(make_seeing())
    shown = [paint.shown(number) for number in range(4)]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        together_, alone = Frozen(made).soft(shown), [Frozen(made).soft([one]) for one in shown]
    assert together_.dtype == torch.float32 and torch.equal(together_, torch.cat(alone))


def test_what_a_frozen_tower_made_is_not_made_again_until_it_is_forgotten(
    make_seeing: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, looked = _tower(make_seeing()), []
    plain = sight.look
    monkeypatch.setattr(sight, "look", lambda tower, one: looked.append(one) or plain(tower, one))
    one, two, three = (paint.shown(number) for number in range(3))
    frozen = Frozen(made, budget=2 * 4 * 16 * 4)  # two pictures of 4 tokens, 16 wide, in float32
    for each in (one, two, one, three, one, two):
        frozen.soft([each])
    assert looked == [one, two, three, two]


def test_a_picture_that_comes_twice_is_looked_at_once_and_learnt_from_twice(make_seeing: MakeRun) -> None:
    made = _tower(make_seeing())
    shown = (paint.shown(1), paint.shown(2), paint.shown(1))
    tuned = Tuned(made)
    batch = _batch(shown)
    seen = see(tuned, batch).soft
    assert seen is not None
    apart = torch.cat([tuned.soft([one])[0] for one in shown])
    weight = torch.randn(apart.shape)
    one, other = (_gradients(made, (soft * weight).sum()) for soft in (seen, apart))
    torch.testing.assert_close(seen, apart)
    _assert_close(one, other)


def _batch(shown: tuple[paint.Shown, ...]) -> Batch:
    """A document that is all pictures."""
    count = 4 * len(shown)
    where = span([count], images=[Image(0, 4 * number, 4) for number in range(len(shown))])
    ids = torch.zeros(count, dtype=torch.int64)
    return Batch(ids=ids, targets=ids, weight=torch.ones(count), span=where, rows=(), pictures=shown)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_tuned_towers_gradient_is_autograds_through_documents_alone(
    make_seeing: MakeRun, tokenizer: Tokenizer, tmp_path: Path, recompute: bool
) -> None:
    """Packed with texts and with each other, or one by one, unpacked, spliced by hand: the same gradient."""
    run, model = make_seeing(), _decoder(make_seeing())
    made = _tower(run)
    tokens = _tokens(run, tokenizer, tmp_path / "tokens")
    packer = Packer(tokens, row=64, seed=1)
    seen = see(Tuned(made, recompute=recompute), packer.take(packer.rows))
    both = together(model, Tuned(made))
    packed = _gradients(both, next_token(model, seen).total)
    alone = _gradients(both, torch.stack([_plain(model, made, tokens, number) for number in _documents(tokens)]).sum())
    assert sum(name.startswith("tower.") for name in packed) > 20
    _assert_close(packed, alone)


def _assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Within 1e-5 of a parameter's largest gradient. A bias of keys has none but rounding: there, of all others'."""
    assert found.keys() == wanted.keys()
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        scale = largest if name.endswith("key.bias") else float(gradient.abs().max())
        assert float((found[name] - gradient).abs().max()) <= 1e-5 * scale, name


def _documents(tokens: TokenFile) -> range:
    return range(tokens.meta.documents)


def _plain(model: Decoder, made: Tower, tokens: TokenFile, number: int) -> Tensor:
    """The loss of one document, by logits and the log of a softmax."""
    start, end = tokens.starts[number : number + 2].tolist()
    target = torch.tensor(tokens.ids[start:end].astype("int64"))
    ids = torch.cat([torch.tensor([tokens.meta.bos]), target[:-1]])
    places = [(place, which) for place, which in tokens.places.tolist() if start <= place < end]
    pixels = [torch.from_numpy(tokens.shown[which].pixels(made.spec.tower.image)) for _, which in places]
    soft = made.encode(torch.stack(pixels)).flatten(0, 1) if places else None
    where = span([len(ids)], images=[Image(0, place - start + 1, 4) for place, _ in places])
    logits = model(ids, where, use=lambda hidden, head: head.logits(hidden), soft=soft)
    learnt = torch.ones(len(ids)) if tokens.loss is None else torch.tensor(tokens.loss[start:end]).float()
    return -(logits.log_softmax(1).gather(1, target[:, None])[:, 0] * learnt)[learnt > 0].sum()


def test_a_batch_that_nobody_looked_at_is_refused(make_seeing: MakeRun) -> None:
    batch = _batch((paint.shown(1),))
    with pytest.raises(ValueError, match="looks at none"):
        see(None, batch)
    with pytest.raises(ValueError, match="nobody has looked"):
        next_token(_decoder(make_seeing()), batch)


def test_a_batch_of_texts_is_left_as_it_is(make_seeing: MakeRun) -> None:
    batch = replace(_batch((paint.shown(1),)), span=span([4]), pictures=())
    assert see(None, batch) is batch and see(Tuned(_tower(make_seeing())), batch) is batch


# ----------------------------------------------------------------------------------------------------------------------
# Whole runs


def test_a_run_with_embeddings_and_one_with_its_frozen_tower_are_the_same_to_the_bit(
    make_seeing: MakeRun, tmp_path: Path
) -> None:
    start = _saved(make_seeing(), tmp_path / "start")
    live = make_seeing("live", pictures=FROZEN, start=start)
    ahead = _with_embeddings(make_seeing("ahead", start=start), _loaded(live), tmp_path / "made")
    one, other = train(live), train(ahead)
    assert one.tower is None and one.held_out is not None and one.held_out == other.held_out
    assert all(map(torch.equal, one.model.parameters(), other.model.parameters()))


def test_a_run_with_a_frozen_tower_resumes_bit_for_bit(make_seeing: MakeRun, tmp_path: Path) -> None:
    start = _saved(make_seeing(), tmp_path / "start")
    whole, halves = (make_seeing(name, pictures=FROZEN, start=start) for name in ("whole", "halves"))
    one = train(whole)
    assert not train(halves, stop=lambda step: step == 3).finished
    other = train(halves, resume=True)
    assert other.finished and one.held_out == other.held_out
    assert all(map(torch.equal, one.model.parameters(), other.model.parameters()))


def test_an_adapter_is_trained_beside_a_frozen_tower(make_seeing: MakeRun, tmp_path: Path) -> None:
    lora = Lora(rank=2, alpha=4.0, targets=("query",), dropout=0.0, rslora=False)
    run = make_seeing(pictures=FROZEN, start=_saved(make_seeing(), tmp_path / "start"), lora=lora)
    outcome = train(run)
    assert outcome.finished and outcome.tower is None
    trained = {name for name, parameter in outcome.model.named_parameters() if parameter.requires_grad}
    assert trained and all("query" in name for name in trained)


def _saved(run: Run, folder: Path) -> str:
    """A folder of a model that sees."""
    save(_decoder(run), folder, tower=_tower(run))
    return str(folder)


def _loaded(run: Run) -> Tower:
    return build(run, torch.Generator(), CPU, fresh=True)


def test_embeddings_of_another_tower_or_size_are_refused(make_seeing: MakeRun, tmp_path: Path) -> None:
    run = make_seeing()
    other = replace(run, model=replace(run.model, width=32))
    with pytest.raises(UserError, match="soft tokens of width 32"):
        Ahead(replace(_with_embeddings(other, _tower(other), tmp_path / "wide"), model=run.model), CPU)


def test_a_picture_that_was_not_encoded_is_found_before_the_first_step(make_seeing: MakeRun, tmp_path: Path) -> None:
    run = _with_embeddings(make_seeing(), _tower(make_seeing()), tmp_path / "made")
    Embeddings(tmp_path / "made").drop(0)
    with pytest.raises(UserError, match=r"lacks \d+ of the pictures"):
        train(run)
    assert not (run.out / "log.jsonl").exists()
