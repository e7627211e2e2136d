"""Published speeds of a graphics card: only for the digests that they were measured with."""

from dataclasses import replace

from calpow.client.cli.gpu_speeds import gpu_speed
from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.profiles import PROFILES


def test_a_speed_that_is_not_published_is_none() -> None:
    for name in ("scrypt", "scrypt-hard"):
        assert gpu_speed(PROFILES[name].kind.puzzle(64, "size")) is None
    published = replace(PROFILES["scrypt"].kind.puzzle(64, "size"), cost=ScryptCost(16384, 8, 1))
    speed = gpu_speed(published)
    assert speed is not None
    assert speed.digests_per_second == 7126
