"""Column arithmetic, digit by digit from the right: the worked steps that answers with numbers show.

    347 + 276      623 - 276      46 × 7
    7+6=13         13-6=7         6×7=42
    4+7+1=12       12-7-1=4       4×7+4=32
    3+2+1=6        6-2-1=3        = 322
    = 623          = 347

A line takes one digit of each number, and the carry or the borrowed one of the line before. The last digit of each
sum or product is a digit of the result (the whole last one stands in front); in subtraction ten is lent in advance,
so every line's result is a digit. The result comes last, after "= ".
"""

from __future__ import annotations


def digits(number: int, count: int = 1) -> list[int]:
    """The decimal digits from the right, with zeros up to `count`."""
    return [int(digit) for digit in reversed(str(number).zfill(count))]


def add(left: int, right: int) -> str:
    """left + right, both from 0 up, a step per digit of the longer one."""
    lines, carry = [], 0
    width = max(len(str(left)), len(str(right)))
    for one, other in zip(digits(left, width), digits(right, width), strict=True):
        total = one + other + carry
        lines.append(f"{one}+{other}{'+1' if carry else ''}={total}")
        carry = total // 10
    return "\n".join([*lines, f"= {left + right}"])


def subtract(left: int, right: int) -> str:
    """left - right, with left at least right and both from 0 up, a step per digit of left."""
    if left < right:
        raise ValueError(f"{left} - {right} is below 0: these steps end above it")
    lines, borrowed = [], 0
    width = len(str(left))
    for one, other in zip(digits(left, width), digits(right, width), strict=True):
        lent = 10 if one - other - borrowed < 0 else 0
        lines.append(f"{one + lent}-{other}{'-1' if borrowed else ''}={one + lent - other - borrowed}")
        borrowed = lent // 10
    return "\n".join([*lines, f"= {left - right}"])


def multiply(number: int, digit: int) -> str:
    """number × digit, with digit from 0 to 9, a step per digit of the number."""
    if not 0 <= digit <= 9:
        raise ValueError(f"{digit} is no digit: these steps multiply by one digit")
    lines, carry = [], 0
    for one in digits(number):
        total = one * digit + carry
        lines.append(f"{one}×{digit}{f'+{carry}' if carry else ''}={total}")
        carry = total // 10
    return "\n".join([*lines, f"= {number * digit}"])
