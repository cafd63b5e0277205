"""Three traces by a formula, the same under every version of every library."""

import numpy as np


def pages(kind, n=20_000):
    """``[n]`` pages of a "skewed", "loop" or "mixed" trace."""
    state, out = 12345, []
    for t in range(n):
        state = (state * 1103515245 + 12345) % 2**31
        uniform = state / 2**31
        skewed = int(1000 * uniform**3)
        looped = t % 750
        mixed = skewed if t % 1000 < 800 else 1000 + (t // 5) % 3000
        out.append({"skewed": skewed, "loop": looped, "mixed": mixed}[kind])
    return np.array(out)
