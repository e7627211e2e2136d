"""Rates of minting stamps: all solvers, client/js in Node and Chromium, a bare loop of hashlib, and `hashcash`.

python -m benchmarks.mint
"""

from benchmarks.mint.mint_rates import measure, table


def main() -> None:
    """Measure and print."""
    print("\n".join(table(measure())))


if __name__ == "__main__":
    main()
