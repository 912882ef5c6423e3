"""A table, and how a number is written in one."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import isfinite

ABSENT = "–"
MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class Table:
    """columns: (heading, is_number). A row whose first cell starts with "Total" is set off. note: read before it."""

    id: str
    title: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def figure(value: float | None, unit: str = "", digits: int = 1) -> str:
    """A number with its unit and a true minus sign; a dash when it is not known."""
    if value is None or not isfinite(value):
        return ABSENT
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS) + (f" {unit}" if unit else "")


def money(amount: Decimal, currency: str) -> str:
    return f"{amount:,.2f} {currency}".replace("-", MINUS)
