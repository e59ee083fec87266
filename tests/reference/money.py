"""Plain twin of processors/kernels/money.py: Python's integers know no overflow."""

from __future__ import annotations


def multiply_e8(price_e8: int, quantity_e8: int) -> int | None:
    """price × quantity ÷ 10^8, rounded half to even; None outside of ±(2^63 - 1)."""
    product = abs(price_e8 * quantity_e8)
    quotient, rest = divmod(product, 10**8)
    if rest * 2 > 10**8 or (rest * 2 == 10**8 and quotient % 2):
        quotient += 1
    if quotient > 2**63 - 1:
        return None
    return -quotient if (price_e8 < 0) != (quantity_e8 < 0) else quotient
