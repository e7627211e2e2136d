"""The index of docs/results: every table and figure of the paper, made or not, and why not."""

from collections.abc import Iterator, Mapping

from benchmarks.results.exhibit import Exhibit, table
from benchmarks.results.origin import Origin

# What is not made by `benchmarks.results`: the paper's table or figure, and where it is or why there is none.
ELSEWHERE: tuple[tuple[str, str, str], ...] = (
    ("Figure 1", "the protocol", "a picture of the idea; ours is in [architecture.md](../architecture.md)"),
    ("Table 1", "taxonomy of attacks", "no measurement; [paper.md](../paper.md) has our attack for each"),
    ("Table 4", "taxonomy of defences", "no measurement"),
    (
        "Figures 9, 10",
        "accuracy by time with private kNN",
        "not made: its prices are in [Table 3](table-3.md), where it separates attacks as the other scores do",
    ),
    (
        "Figure 14",
        "entropy and gap on ImageNet",
        "not made: no package carries ImageNet, and training on it takes days of graphics cards",
    ),
    (
        "SVHN in all figures",
        "the third data set",
        "not made of our attacks: no package carries it; of the paper's recorded ones above",
    ),
    (
        "Section B.5",
        "several models behind the API",
        "not made: the answer is always the victim's own, and teachers only vote on its cost; private kNN is in"
        " [Table 3](table-3.md)",
    ),
)


def index(exhibits: Mapping[str, Exhibit], made: Mapping[str, Origin]) -> Iterator[str]:
    """Yield the lines of the index page."""
    yield "# The paper's tables and figures, made again"
    yield ""
    yield "`make results` makes these pages. Each names its command, its commit and the time it took."
    yield ""
    rows = [
        (f"[{exhibit.title}]({name}.md)", made[name].commit, made[name].day, f"{made[name].seconds:.0f} s")
        for name, exhibit in exhibits.items()
        if name in made
    ]
    yield from table(("page", "commit", "day", "took"), rows, texts=3)
    yield ""
    if left := [exhibit.title for name, exhibit in exhibits.items() if name not in made]:
        yield f"Without data yet: {'; '.join(left)}."
        yield ""
    yield from table(("the paper's", "shows", "here"), ELSEWHERE, texts=3)
    yield ""
    yield (
        "Not of the paper: [how the time of an answer grows](growth.md), by `python -m benchmarks.growth`, and [on"
        " Redis](growth-redis.md), with `--redis`."
    )
    yield ""
