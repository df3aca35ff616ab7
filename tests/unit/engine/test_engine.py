"""An answer depends on its own request only."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gemwright.engine.engine import Engine
from gemwright.engine.progress import Session
from gemwright.engine.request import Completion, Event, Request, RequestError, Sampling, defaults_of
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.ops.span import span
from gemwright.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
GREEDY = Sampling(temperature=0, max_tokens=24, ignore_eos=True)


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    """`<bos>` and plain pieces."""
    drawn = torch.randint(9, 303, (length - 1,), generator=torch.Generator().manual_seed(seed))
    return (2, *drawn.tolist())


def alone(model: Decoder, request: Request, **settings: Any) -> Completion:
    return Engine(model, sequences=1, **settings).generate(request)


def greedy_by_full_passes(model: Decoder, ids: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The plainest decoding: the whole text anew for each token, no cache."""
    text = list(ids)
    with torch.no_grad():
        for _ in range(count):
            last = model(torch.tensor(text), span([len(text)]), use=lambda hidden, head: head.logits(hidden[-1:]))
            text.append(int(last[0].argmax()))
    return tuple(text[len(ids) :])


def test_greedy_ids_are_those_of_whole_passes_without_a_cache(tiny: Tiny, family: str) -> None:
    request = Request(ids=prompt(21), sampling=GREEDY)
    found = alone(tiny(family), request).ids
    assert found == greedy_by_full_passes(tiny(family), request.ids, 24)
    assert len(set(found)) > 8


@pytest.mark.feature("batching")
def test_a_batch_gives_what_each_request_gives_alone(tiny: Tiny, family: str) -> None:
    model = tiny(family)
    requests = [
        Request(ids=prompt(length, seed), sampling=Sampling(temperature=0, max_tokens=most, ignore_eos=True))
        for seed, (length, most) in enumerate([(3, 30), (40, 5), (1, 17), (17, 24), (9, 1), (25, 12)])
    ]
    together = Engine(model, sequences=3, chunk=16).run(requests)
    assert [completion.ids for completion in together] == [alone(model, request).ids for request in requests]


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
def test_any_chunk_size_gives_the_same_answer(tiny: Tiny, family: str, chunk: int) -> None:
    request = Request(ids=prompt(50), sampling=GREEDY)
    assert alone(tiny(family), request, chunk=chunk).ids == alone(tiny(family), request, chunk=512).ids


def test_no_step_reads_more_prompt_than_a_chunk(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(tiny("gemma-2-2b"), sequences=3, chunk=7)
    lengths: list[list[int]] = []
    prepare = engine.cache.prepare
    monkeypatch.setattr(
        engine.cache, "prepare", lambda handles, counts, *rest: lengths.append(list(counts)) or prepare(handles, counts)
    )
    engine.run([Request(ids=prompt(length), sampling=GREEDY) for length in (30, 20, 9)])
    assert max(sum(count for count in step if count > 1) for step in lengths) == 7
    assert any(len(step) == 3 and max(step) == 1 for step in lengths)  # and decoding was batched


def test_only_the_last_row_of_a_prompt_meets_the_head(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from gemwright.nn.head import Head

    rows: list[int] = []
    logits = Head.logits
    monkeypatch.setattr(Head, "logits", lambda self, hidden: rows.append(len(hidden)) or logits(self, hidden))
    Engine(tiny("gemma-2b"), chunk=16).generate(Request(ids=prompt(50), sampling=Sampling(max_tokens=2)))
    assert rows == [1, 1]


@given(data=st.data())
@settings(max_examples=8)
def test_a_seed_draws_the_same_text_whatever_the_neighbours_and_chunks(tiny: Tiny, data: st.DataObject) -> None:
    model = tiny("gemma-3-1b")
    chosen = Sampling(seed=data.draw(st.integers(0, 99)), temperature=0.8, max_tokens=12, ignore_eos=True)
    request = Request(ids=prompt(data.draw(st.integers(1, 30))), sampling=chosen)
    others = [
        Request(ids=prompt(length, 5), sampling=Sampling(max_tokens=length, temperature=2.0))
        for length in data.draw(st.lists(st.integers(1, 20), max_size=4))
    ]
    at = data.draw(st.integers(0, len(others)))
    engine = Engine(model, sequences=data.draw(st.integers(1, 4)), chunk=data.draw(st.integers(1, 40)))
    assert engine.run([*others[:at], request, *others[at:]])[at].ids == alone(model, request).ids


def test_other_seeds_draw_other_texts_and_the_reported_seed_repeats_one(tiny: Tiny) -> None:
    model = tiny("gemma-2b")
    free = Sampling(max_tokens=20, temperature=1.5, top_k=0, top_p=1.0)
    engine = Engine(model)
    first, second = engine.run([Request(ids=prompt(5), sampling=free)] * 2)
    assert first.ids != second.ids
    again = Request(
        ids=prompt(5), sampling=Sampling(max_tokens=20, temperature=1.5, top_k=0, top_p=1.0, seed=first.seed)
    )
    assert engine.generate(again).ids == first.ids


def test_events_joined_are_the_completion(tiny: Tiny, family: str, tokenizer: Tokenizer) -> None:
    engine = Engine(tiny(family), tokenizer)
    request = Request(ids=engine.encode("the thing"), sampling=Sampling(seed=1, max_tokens=60, logprobs=2))
    events = list(engine.stream(request))
    completion = events[-1].completion
    assert completion is not None and all(event.completion is None for event in events[:-1])
    assert "".join(event.text for event in events) == completion.text == tokenizer.decode(completion.ids)
    assert tuple(event.id for event in events) == completion.ids
    assert tuple(event.logprob for event in events) == completion.logprobs
    assert (completion.usage.prompt, completion.usage.completion) == (len(request.ids), len(completion.ids))


def test_log_probabilities_are_those_of_a_whole_pass_before_any_filter(tiny: Tiny, family: str) -> None:
    model = tiny(family)
    chosen = Sampling(
        seed=4, temperature=3.0, top_k=7, max_tokens=10, logprobs=3, logit_bias={20: 5.0}, ignore_eos=True
    )
    completion = alone(model, Request(ids=prompt(12), sampling=chosen), chunk=5)
    text = [*prompt(12), *completion.ids]
    with torch.no_grad():
        logits = model(torch.tensor(text), span([len(text)]), use=lambda hidden, head: head.logits(hidden))
    logs = torch.log_softmax(logits, -1)[11:-1]
    assert completion.logprobs is not None
    for row, report in zip(logs, completion.logprobs, strict=True):
        assert report.logprob == pytest.approx(float(row[report.id]), abs=1e-4)
        assert [value for _, value in report.top] == pytest.approx(row.topk(3).values.tolist(), abs=1e-4)


def test_a_stop_id_ends_the_answer_and_is_its_last_id(tiny: Tiny, tokenizer: Tokenizer) -> None:
    engine = Engine(tiny("gemma-2b"), tokenizer)
    free = engine.generate(Request(ids=prompt(5), sampling=GREEDY))
    at = next(at for at in range(4, 20) if free.ids.index(free.ids[at]) == at)
    chosen = Sampling(temperature=0, max_tokens=24, ignore_eos=True, stop_ids=(free.ids[at],))
    stopped = engine.generate(Request(ids=prompt(5), sampling=chosen))
    assert stopped.ids == free.ids[: at + 1]
    assert stopped.finish_reason == "stop"
    assert stopped.text == tokenizer.decode(free.ids[:at])


def test_the_checkpoints_stop_ids_hold_unless_ignored(tiny: Tiny) -> None:
    model = tiny("gemma-2b")
    free = alone(model, Request(ids=prompt(5), sampling=GREEDY))
    engine = Engine(model, defaults=defaults_of({"do_sample": False}, (free.ids[3],)))
    assert engine.generate(Request(ids=prompt(5), sampling=Sampling(max_tokens=24))).finish_reason == "stop"
    assert engine.generate(Request(ids=prompt(5), sampling=GREEDY)).ids == free.ids


def test_a_stop_string_across_tokens_ends_the_text_before_it(tiny: Tiny, tokenizer: Tokenizer) -> None:
    engine = Engine(tiny("gemma-3-1b"), tokenizer)
    letters = {id: 60.0 for id in range(267, 293)}
    free = Sampling(seed=2, max_tokens=40, temperature=5.0, top_k=0, top_p=1.0, logit_bias=letters)
    text = engine.generate(Request(ids=prompt(5), sampling=free)).text
    stop = text[20:24]
    begin = text.index(stop)
    chosen = Sampling(seed=2, max_tokens=40, temperature=5.0, top_k=0, top_p=1.0, logit_bias=letters, stop=(stop, "§§"))
    events = list(engine.stream(Request(ids=prompt(5), sampling=chosen)))
    completion = events[-1].completion
    assert completion is not None
    assert (completion.text, completion.finish_reason) == (text[:begin], "stop")
    assert "".join(event.text for event in events) == text[:begin]
    assert len(completion.ids) == begin + 4


def test_held_back_text_comes_out_when_the_answer_ends_otherwise(tiny: Tiny, tokenizer: Tokenizer) -> None:
    engine = Engine(tiny("gemma-2b"), tokenizer)
    free = engine.generate(Request(ids=prompt(5), sampling=GREEDY))
    chosen = Sampling(temperature=0, max_tokens=24, ignore_eos=True, stop=(free.text[-2:] + "never",))
    assert engine.generate(Request(ids=prompt(5), sampling=chosen)).text == free.text


def test_padding_rows_and_image_markers_are_never_drawn(tiny: Tiny, tokenizer: Tokenizer) -> None:
    engine = Engine(tiny("gemma-2b"), tokenizer)
    forbidden = {tokenizer.start_of_image, tokenizer.end_of_image, *range(tokenizer.vocab_size, 320)}
    wanted = {id: 1000.0 for id in forbidden if id is not None}
    chosen = Sampling(seed=0, max_tokens=50, temperature=20.0, top_k=0, top_p=1.0, logit_bias=wanted, ignore_eos=True)
    assert not forbidden & set(engine.generate(Request(ids=prompt(4), sampling=chosen)).ids)


@pytest.mark.parametrize(("wanted", "length"), [(None, 12), (100, 12), (4, 4)])
def test_an_answer_is_cut_to_the_context(tiny: Tiny, family: str, wanted: int | None, length: int) -> None:
    chosen = Sampling(temperature=0, max_tokens=wanted, ignore_eos=True)
    completion = alone(tiny(family), Request(ids=prompt(20), sampling=chosen), context=32)
    assert (len(completion.ids), completion.finish_reason) == (length, "length")


def test_a_model_without_a_limit_runs_past_any_window(tiny: Tiny) -> None:
    model = tiny("recurrentgemma-2b")
    chosen = Sampling(temperature=0, max_tokens=40, ignore_eos=True)
    assert alone(model, Request(ids=prompt(100), sampling=chosen)).ids == greedy_by_full_passes(model, prompt(100), 40)


def refused(engine: Engine, ids: tuple[int, ...], **sampling: Any) -> str:
    with pytest.raises(UserError) as caught:
        engine.submit(Request(ids=ids, sampling=Sampling(**sampling)))
    assert not engine.busy
    assert caught.value.hint
    return caught.value.message


def test_what_cannot_be_run_is_refused_with_its_numbers(tiny: Tiny) -> None:
    engine = Engine(tiny("gemma-2b"), context=32)
    message = refused(engine, prompt(32))
    assert "32 tokens" in message and "holds 32" in message
    assert "empty" in refused(engine, ())
    assert "token 2 of the prompt is 320" in refused(engine, (2, 5, 320))
    assert "-1" in refused(engine, (2, -1))
    assert "id 999" in refused(engine, (2,), logit_bias={999: 1.0})
    assert "tokenizer" in refused(engine, (2,), stop=("x",))


def test_a_context_beyond_the_models_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match="made for 256 tokens, not for 300"):
        Engine(tiny("gemma-2b"), context=300)


def test_raw_text_gets_one_bos_and_ids_are_taken_as_they_are(tiny: Tiny, tokenizer: Tokenizer) -> None:
    engine = Engine(tiny("gemma-2b"), tokenizer)
    assert engine.encode("the")[:1] == (2,) and engine.encode("<bos>the").count(2) == 1
    assert engine.encode([5, 6]) == engine.encode(torch.tensor([5, 6])) == (5, 6)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="does not begin with <bos>"):
        engine.generate(Request(ids=(5, 6), sampling=GREEDY))
    with pytest.warns(UserWarning, match="twice"):
        engine.generate(Request(ids=(2, 2, 6), sampling=GREEDY))


# ------------------------------------------------------------------------------------------------ ends before the end


def test_cancelling_ends_one_request_frees_its_place_and_leaves_the_others(tiny: Tiny, family: str) -> None:
    model = tiny(family)
    requests = [Request(ids=prompt(9, seed), sampling=GREEDY) for seed in range(3)]
    engine = Engine(model, sequences=2)
    first, second, third = (engine.submit(request) for request in requests)
    events: list[Event] = []
    for _ in range(5):
        events += engine.step()
    ended = engine.cancel(first)
    assert ended is not None and ended.completion is not None
    assert ended.completion.finish_reason == "cancelled"
    assert ended.completion.ids == alone(model, requests[0]).ids[:5]
    assert engine.cancel(first) is None
    while engine.busy:
        events += engine.step()
    done = {event.request: event.completion.ids for event in events if event.completion}
    assert done == {key: alone(model, requests[key]).ids for key in (second, third)}


def test_a_waiting_request_can_be_cancelled(tiny: Tiny) -> None:
    engine = Engine(tiny("gemma-2b"), sequences=1)
    running, waiting = (engine.submit(Request(ids=prompt(5), sampling=GREEDY)) for _ in range(2))
    engine.step()
    ended = engine.cancel(waiting)
    assert ended is not None and ended.completion is not None and ended.completion.ids == ()
    assert len([event for _ in range(30) for event in engine.step() if event.request == running]) == 23


def test_leaving_a_stream_cancels_it(tiny: Tiny, tokenizer: Tokenizer) -> None:
    engine = Engine(tiny("gemma-2b"), tokenizer, sequences=1)
    for _ in engine.stream(Request(ids=prompt(5), sampling=GREEDY)):
        break
    gc.collect()
    assert not engine.busy
    engine.generate(Request(ids=prompt(5), sampling=GREEDY))


def interrupt_in(model: Decoder, layer: int, call: int) -> Any:
    """A Ctrl-C in the middle of the `call`-th step from now: some layers have written, the others not."""
    left = [call]

    def hook(*_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    return model.layers[layer].register_forward_pre_hook(hook)


@pytest.mark.parametrize("call", [1, 2, 4, 9])
def test_an_interrupt_inside_a_step_changes_no_answer(tiny: Tiny, family: str, call: int) -> None:
    model = tiny(family)
    requests = [Request(ids=prompt(length, length), sampling=GREEDY) for length in (40, 5)]
    engine = Engine(model, chunk=16)
    keys = [engine.submit(request) for request in requests]
    events: list[Event] = []
    hook = interrupt_in(model, len(model.layers) - 1, call)
    try:
        with pytest.raises(KeyboardInterrupt):
            while engine.busy:
                events += engine.step()
    finally:
        hook.remove()
    while engine.busy:
        events += engine.step()
    done = {event.request: event.completion.ids for event in events if event.completion}
    assert done == {key: alone(model, request).ids for key, request in zip(keys, requests, strict=True)}


def test_an_interrupt_in_run_cancels_all_of_it(tiny: Tiny) -> None:
    model = tiny("gemma-3-1b")
    engine = Engine(model, sequences=2)
    hook = interrupt_in(model, 3, 6)
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.run([Request(ids=prompt(9), sampling=GREEDY)] * 5)
    finally:
        hook.remove()
    assert not engine.busy
    assert len(engine.run([Request(ids=prompt(9), sampling=GREEDY)] * 5)) == 5


def test_a_request_for_which_nothing_can_be_drawn_does_not_stop_the_others(tiny: Tiny) -> None:
    model = tiny("gemma-2b")
    engine = Engine(model)
    good = engine.submit(Request(ids=prompt(9), sampling=GREEDY))
    nothing = Sampling(logit_bias=dict.fromkeys(range(320), float("-inf")))
    guilty = engine.submit(Request(ids=prompt(9), sampling=nothing))
    with pytest.raises(RequestError, match="forbidden") as found:
        engine.step()
    assert found.value.request == guilty
    last = [event.completion for event in engine.events(good)][-1]
    assert last is not None and last.ids == alone(model, Request(ids=prompt(9), sampling=GREEDY)).ids
    assert not engine.busy


def test_a_neighbours_error_reaches_its_own_reader_and_nobody_else(tiny: Tiny) -> None:
    model = tiny("gemma-2b")
    engine = Engine(model)
    request = Request(ids=prompt(9), sampling=GREEDY)
    reading = engine.stream(request)
    ids = [next(reading).id for _ in range(2)]
    nothing = Sampling(logit_bias=dict.fromkeys(range(320), float("-inf")))
    guilty = engine.submit(Request(ids=prompt(9), sampling=nothing))
    ids += [event.id for event in reading]
    assert tuple(ids) == alone(model, request).ids
    with pytest.raises(UserError, match="forbidden"):
        list(engine.events(guilty))
    assert not engine.busy


def test_an_answer_ends_where_neither_request_nor_context_bounds_it(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemwright.engine.progress._ENDLESS", 40)
    endless = Request(ids=prompt(5), sampling=Sampling(temperature=0, ignore_eos=True))
    completion = alone(tiny("recurrentgemma-2b"), endless)
    assert len(completion.ids) == 40 and completion.finish_reason == "length"


def test_events_of_a_cancelled_request_are_gone_and_its_end_is_not_lost(tiny: Tiny) -> None:
    engine = Engine(tiny("gemma-2b"))
    first, second = (
        engine.submit(Request(ids=prompt(6, seed), sampling=Sampling(temperature=0, max_tokens=3, ignore_eos=True)))
        for seed in range(2)
    )
    list(engine.events(first))
    last = engine.cancel(second)  # it ended while the other was read
    assert last is not None and last.completion is not None and len(last.completion.ids) == 3
    assert engine.step() == [] and not engine.busy


# ---------------------------------------------------------------------------------------------------------- sessions


@pytest.mark.feature("sessions")
def test_a_session_reads_only_what_is_new(tiny: Tiny, family: str) -> None:
    model = tiny(family)
    engine, session = Engine(model), Session()
    first = engine.generate(Request(ids=prompt(20), sampling=GREEDY), session)
    longer = (*prompt(20), *first.ids, *prompt(6, 1)[1:])
    second = engine.generate(Request(ids=longer, sampling=GREEDY), session)
    assert second.usage.cached == 20 + 23  # all but the last drawn token, which was never run
    assert second.ids == alone(model, Request(ids=longer, sampling=GREEDY)).ids


@pytest.mark.parametrize("back", [1, 5, 30])
def test_a_session_whose_past_is_changed_answers_the_changed_past(tiny: Tiny, family: str, back: int) -> None:
    model = tiny(family)
    engine, session = Engine(model), Session()
    first = engine.generate(Request(ids=prompt(20), sampling=GREEDY), session)
    past = (*prompt(20), *first.ids)[: 43 - back]
    changed = (*past, (past[-1] + 1) % 300, 17, 18)
    second = engine.generate(Request(ids=changed, sampling=GREEDY), session)
    assert second.ids == alone(model, Request(ids=changed, sampling=GREEDY)).ids


def test_idle_sessions_give_way_and_come_back(tiny: Tiny) -> None:
    model = tiny("gemma-3-1b")
    engine = Engine(model, sequences=2)
    sessions = [Session() for _ in range(3)]
    texts = [prompt(8, seed) for seed in range(3)]
    for turn in range(3):
        for at, session in enumerate(sessions):
            completion = engine.generate(Request(ids=texts[at], sampling=GREEDY), session)
            assert completion.ids == alone(model, Request(ids=texts[at], sampling=GREEDY)).ids
            texts[at] = (*texts[at], *completion.ids, 30 + turn)
    assert sum(session.handle is not None for session in sessions) == 2


@pytest.mark.parametrize("new", [1, 2, 3, 5])
def test_idle_sessions_give_way_to_several_requests_at_once(tiny: Tiny, new: int) -> None:
    model = tiny("gemma-3-1b")
    engine = Engine(model, sequences=3)
    for seed in range(3):
        engine.generate(Request(ids=prompt(8, seed), sampling=GREEDY), Session())
    requests = [Request(ids=prompt(6, 10 + seed), sampling=GREEDY) for seed in range(new)]
    assert [found.ids for found in engine.run(requests)] == [alone(model, one).ids for one in requests]


def test_the_session_that_has_been_idle_longest_gives_way_first(tiny: Tiny) -> None:
    engine = Engine(tiny("gemma-2b"), sequences=2)
    first, second, third = (Session() for _ in range(3))
    for session in (first, second, first, third):
        engine.generate(Request(ids=prompt(8), sampling=GREEDY), session)
    assert second.handle is None
    assert first.handle is not None and third.handle is not None


def test_a_session_at_work_takes_no_second_request(tiny: Tiny) -> None:
    engine, session = Engine(tiny("gemma-2b")), Session()
    engine.submit(Request(ids=prompt(4), sampling=GREEDY), session)
    with pytest.raises(ValueError, match="under way"):
        engine.submit(Request(ids=prompt(4), sampling=GREEDY), session)
