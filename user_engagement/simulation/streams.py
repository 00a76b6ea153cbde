"""Counter-based random numbers: every draw is a pure function of its address.

The address of a draw is (seed, stream name, user, day, number of the draw), and the draw is a hash of
it. So a user's Tuesday is the same in a world made in one step and in one advanced day by day, and switching off
a story or a kind of dirt does not change other draws. The idea is that of
Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3"; the mixing function is SplitMix64 of
Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators".
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LANE = 1 << 16


def mix(keys: Keys) -> Keys:
    """SplitMix64's finaliser: a bijection on 64 bits that leaves no pattern of its input."""
    mixed = keys ^ (keys >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def stream_key(seed: int, name: str) -> np.uint64:
    """The key of the stream `name` in the world of `seed`."""
    return np.uint64(int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little"))


def numbered(key: np.uint64, numbers: NDArray[np.integer]) -> Keys:
    """One key for each number within the stream `key`."""
    return mix(numbers.astype(np.uint64) * GOLDEN + key)


def branch(keys: Keys, name: str) -> Keys:
    """For each key, the key of its own stream called `name`."""
    return mix(keys ^ stream_key(0, name))


def following(keys: Keys) -> Keys:
    """The next 64 bits after each key in the same stream."""
    return mix(keys + GOLDEN)


def uniform(keys: Keys) -> NDArray[np.float64]:
    """Uniform numbers in the open interval (0, 1), from the upper 52 bits; with 53 the largest would be 1."""
    return ((keys >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def coarse_uniform(keys: Keys) -> NDArray[np.float32]:
    """Uniform numbers in [0, 1) from the upper 24 bits: half the memory, enough for one decision a day."""
    return (keys >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def lanes(keys: Keys) -> NDArray[np.uint16]:
    """Four independent 16-bit numbers from each key: shape (n, 4)."""
    return keys.astype("<u8", copy=False).view("<u2").reshape(-1, 4)


def lane_share(share: float) -> int:
    """The bound below which a 16-bit number lies with probability `share`, to 1/65536."""
    return round(share * LANE)


def lane_quantiles() -> NDArray[np.float64]:
    """The uniform number in (0, 1) that each 16-bit number represents; the grid of the lookup tables."""
    return (np.arange(LANE) + 0.5) / LANE


def lane_choices(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A lookup table from a 16-bit number to a category drawn with `shares`."""
    bounds = np.cumsum(shares) / np.sum(shares)
    return np.searchsorted(bounds[:-1], lane_quantiles(), side="right").astype(np.uint8)
