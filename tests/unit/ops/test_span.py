"""Who sees whom."""

import pytest
import torch

from gemwright.ops.attend import visible_within
from gemwright.ops.span import Image, Tokens, span, visible


def _tokens(position: list[int], document: list[int] | None = None, image: list[int] | None = None) -> Tokens:
    zeros = [0] * len(position)
    return Tokens(
        position=torch.tensor(position), document=torch.tensor(document or zeros), image=torch.tensor(image or zeros)
    )


def _square(tokens: Tokens, window: int | None) -> torch.Tensor:
    query = Tokens(position=tokens.position[:, None], document=tokens.document[:, None], image=tokens.image[:, None])
    return visible(query, tokens, window)


def _seen(mask: torch.Tensor, row: int) -> list[int]:
    return mask[row].nonzero().flatten().tolist()


def test_positions_continue_from_the_past_and_restart_with_each_document() -> None:
    step = span([3, 1, 2], past=[0, 7, 2])
    assert step.tensors.position.tolist() == [0, 1, 2, 7, 2, 3]
    assert step.tensors.document.tolist() == [0, 0, 0, 1, 2, 2]
    assert step.tensors.starts.tolist() == [0, 3, 4, 6] == list(step.plan.starts)
    assert (step.plan.tokens, step.plan.longest) == (6, 3)


@pytest.mark.parametrize("lengths, past", [([], None), ([2, 0], None), ([1], [1, 2]), ([1], [-1])])
def test_impossible_lengths_are_refused(lengths: list[int], past: list[int] | None) -> None:
    with pytest.raises(ValueError, match="document"):
        span(lengths, past=past)


def test_a_window_of_four_shows_four_keys_with_oneself() -> None:
    mask = _square(_tokens(list(range(8))), 4)
    assert [_seen(mask, row) for row in range(8)] == [list(range(max(0, row - 3), row + 1)) for row in range(8)]


def test_documents_do_not_see_each_other() -> None:
    mask = visible_within(span([2, 3]), None)
    assert [_seen(mask, row) for row in range(5)] == [[0], [0, 1], [2], [2, 3], [2, 3, 4]]


def test_a_picture_sees_all_of_itself_and_no_later_picture() -> None:
    image = [0, 0, 0, 1, 1, 1, 1, 0, 2, 2]
    mask = _square(_tokens(list(range(10)), image=image), None)
    assert all(_seen(mask, row) == list(range(7)) for row in range(3, 7))
    assert _seen(mask, 7) == list(range(8))
    assert all(_seen(mask, row) == list(range(10)) for row in (8, 9))
    assert _seen(mask, 2) == [0, 1, 2]


def test_the_window_bounds_a_picture_below_and_not_above() -> None:
    mask = _square(_tokens(list(range(9)), image=[0, 0, 0, 0, 1, 1, 1, 1, 0]), 4)
    assert (_seen(mask, 4), _seen(mask, 7), _seen(mask, 8)) == ([1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7], [5, 6, 7, 8])


def test_a_pictures_tokens_see_its_last_one_from_where_they_are() -> None:
    step = span([3, 6], past=[0, 10], images=[Image(1, 11, 4)])
    assert step.tensors.image.tolist() == [0, 0, 0, 0, 12, 12, 12, 12, 0]
    assert step.plan.ahead(0) is None
    assert step.plan.ahead(1).tolist() == [0, 3, 2, 1, 0, 0]
    assert step.plan.all_ahead().tolist() == [0, 0, 0, 0, 3, 2, 1, 0, 0]
    assert span([4]).plan.all_ahead() is None


@pytest.mark.parametrize(
    "images",
    [
        [Image(1, 0, 2)],  # no such document
        [Image(0, 3, 4)],  # begins before the step
        [Image(0, 8, 3)],  # ends after it
        [Image(0, 5, 0)],
        [Image(0, 5, 3), Image(0, 7, 2)],  # they meet
    ],
)
def test_pictures_that_are_cut_or_meet_are_refused(images: list[Image]) -> None:
    with pytest.raises(ValueError, match="picture"):
        span([6], past=[4], images=images)
