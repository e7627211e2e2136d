"""The result of `preprocess` is kept if it covers a whole pass, and no longer than the pass."""

import pytest

from calpow.handler.preprocess_watch import PreprocessWatch


class Handler:
    def preprocess(self, rows: list[int]) -> list[int]:
        """Return the rows doubled."""
        return [2 * row for row in rows]


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def watch(handler: Handler) -> PreprocessWatch:
    return PreprocessWatch(handler)


def test_the_result_of_a_watched_pass_is_taken_once(handler: Handler, watch: PreprocessWatch) -> None:
    watch.begin(watching=True)
    assert handler.preprocess([1, 2]) == [2, 4]
    assert watch.take() == [2, 4]
    assert watch.take() is None


def test_the_result_is_a_copy(handler: Handler, watch: PreprocessWatch) -> None:
    watch.begin(watching=True)
    handler.preprocess([1, 2]).clear()
    assert watch.take() == [2, 4]


def test_a_part_of_a_pass_is_not_kept(handler: Handler, watch: PreprocessWatch) -> None:
    watch.begin(watching=True)
    handler.preprocess([1])
    handler.preprocess([2])
    assert watch.take() is None


def test_nothing_is_kept_of_a_pass_that_is_not_watched(handler: Handler, watch: PreprocessWatch) -> None:
    watch.begin(watching=False)
    assert handler.preprocess([1]) == [2]
    assert watch.take() is None


def test_the_method_keeps_its_name_and_its_documentation(handler: Handler, watch: PreprocessWatch) -> None:
    assert handler.preprocess.__name__ == "preprocess"
    assert handler.preprocess.__doc__ == Handler.preprocess.__doc__


def test_a_handler_may_have_no_preprocess() -> None:
    watch = PreprocessWatch(object())
    watch.begin(watching=True)
    assert (watch.original, watch.take()) == (None, None)
