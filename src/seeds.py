"""Seeds as pure functions of names: the same parts give the same seed on every machine, in every order, at
any batch size.

`fold_seed("noise", case.id, 0)` replaces global generators, whose state depends on everything drawn before
and cannot be resumed.
"""

import hashlib


def fold_seed(*parts: str | int) -> int:
    """A seed in [0, 2**63) that depends on every part and on their order.

    Parts are joined by a separator that cannot be mistaken for content: `fold_seed("a", "bc") !=
    fold_seed("ab", "c")`.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
