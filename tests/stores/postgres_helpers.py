"""What the tests of PostgresStore share."""

from __future__ import annotations

import numpy as np

PASSWORD = "hunter2-s3cret"
SECRET = "Zanzibarquux-" + "s3cr3t" * 20


def hashed(texts, d=32, seed=0):
    """Vectors drawn by the words of a text; near where words are shared."""
    out = np.zeros((len(texts), d), np.float32)
    for i, text in enumerate(texts):
        for word in text.split():
            draw = np.random.default_rng([seed, *word.encode()])
            out[i] += draw.standard_normal(d).astype(np.float32)
    return out
