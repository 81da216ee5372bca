"""How sure one may be of a count of solved problems (pure)."""

from math import comb, sqrt


def wilson(solved: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    share = solved / count
    centre = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    divisor = 1 + z * z / count
    return (centre - spread) / divisor, (centre + spread) / divisor


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of a paired comparison (McNemar 1947)."""
    differing = only_first + only_second
    if differing == 0:
        return 1.0
    fewer = min(only_first, only_second)
    tail = sum(comb(differing, k) for k in range(fewer + 1)) / 2**differing
    return min(1.0, 2 * tail)
