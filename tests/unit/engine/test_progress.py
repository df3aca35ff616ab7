"""What of a request is pending."""

from __future__ import annotations

from sight import noise

from gemwright.engine.progress import Progress
from gemwright.engine.request import PromptImage, Sampling
from gemwright.image.picture import picture


def test_pending_pictures_are_counted_from_what_is_remembered() -> None:
    ids = [2, 5, 9, 9, 9, 9, 6, 9, 9, 9, 9, 7]
    cat = picture(noise(1), "")
    images = (PromptImage(first=2, count=4, picture=cat), PromptImage(first=7, count=4, picture=cat))
    progress = Progress(0, ids, Sampling().resolve(Sampling()), context=64, tokenizer=None, session=None, images=images)
    assert progress.pictures() == [(2, 6), (7, 11)]
    assert progress.coming(6) == [images[0]] and progress.coming(12) == list(images) and progress.coming(2) == []

    class Handle:
        length = 6

    progress.handle = Handle()
    assert progress.pictures() == [(1, 5)] and progress.coming(5) == [images[1]]
