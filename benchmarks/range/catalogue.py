"""The domains of the range, by name."""

from collections.abc import Callable, Mapping

from benchmarks.range.domain import RangeDomain
from benchmarks.range.domains import cifar10, descriptions, diamonds, fashion_mnist, mnist, optical_digits, signs

DOMAINS: Mapping[str, Callable[[int], RangeDomain]] = {
    module.NAME: module.load
    for module in (optical_digits, fashion_mnist, mnist, cifar10, diamonds, descriptions, signs)
}
