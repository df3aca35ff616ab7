"""What a session shares with the next prompt."""

from __future__ import annotations

import pytest
from sight import noise

from gemwright.engine.progress import Progress, Session
from gemwright.engine.request import PromptImage, Sampling
from gemwright.image.picture import picture

CAT, DOG = (picture(noise(seed), "") for seed in (1, 2))


def image(first: int, which: object = CAT, count: int = 4) -> PromptImage:
    return PromptImage(first=first, count=count, picture=which)  # type: ignore[arg-type]


def remembering(ids: list[int], *images: PromptImage) -> Session:
    session = Session()
    session.ids, session.images = ids, images
    return session


IDS = [2, 5, 9, 9, 9, 9, 6, 9, 9, 9, 9, 7]  # pictures at 2 and at 7


@pytest.mark.parametrize(
    ("images", "shared"),
    [
        ((image(2), image(7, DOG)), 12),
        ((image(2), image(7)), 7),  # another second picture
        ((image(2, DOG), image(7)), 2),  # another first one
        ((image(2),), 7),  # the second place is text now
        ((), 2),
        ((image(2, count=3), image(7, DOG)), 2),
        ((image(2), image(7, DOG), image(12)), 12),
    ],
)
def test_pictures_count_where_ids_are_alike(images: tuple[PromptImage, ...], shared: int) -> None:
    assert remembering(IDS, image(2), image(7, DOG)).shared([*IDS, 9, 9, 9, 9, 8], images) == shared


def test_a_picture_where_text_of_equal_ids_was_is_read_anew() -> None:
    assert remembering(IDS).shared([*IDS, 8], [image(2)]) == 2


def test_no_picture_is_shared_in_part() -> None:
    """Its last token is the prompt's last one, which must be run again."""
    assert remembering([2, 9, 9, 9, 9], image(1)).shared([2, 9, 9, 9, 9], [image(1)]) == 1
    assert remembering([2, 9, 9, 9, 9, 3], image(1)).shared([2, 9, 9, 9, 9, 3], [image(1)]) == 5


def test_plain_prompts_share_their_beginning() -> None:
    assert remembering([1, 2, 3]).shared([1, 2, 4, 5]) == 2
    assert remembering([1, 2, 3]).shared([1, 2, 3]) == 2
    assert remembering([]).shared([1]) == 0


def test_pending_pictures_are_counted_from_what_is_remembered() -> None:
    images = (image(2), image(7))
    progress = Progress(0, IDS, Sampling().resolve(Sampling()), context=64, tokenizer=None, session=None, images=images)
    assert progress.pictures() == [(2, 6), (7, 11)]
    assert progress.coming(6) == [images[0]] and progress.coming(12) == list(images) and progress.coming(2) == []

    class Handle:
        length = 6

    progress.handle = Handle()
    assert progress.pictures() == [(1, 5)] and progress.coming(5) == [images[1]]
