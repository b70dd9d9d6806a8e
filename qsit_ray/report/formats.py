"""pure: numbers as the reports write them."""

from __future__ import annotations

import json
import math


def significant(value: float | None) -> str:
    """Three significant digits, written out: 0.0123, 2.42, 1,230."""
    if value is None:
        return "–"
    rounded = float(f"{value:.3g}")
    if rounded and not 1e-4 <= abs(rounded) < 1e7:
        return f"{value:.2e}"
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded)))) if rounded else 0
    return _minus(f"{rounded:,.{decimals}f}")


def fixed(value: float | None) -> str:
    """A correlation or a share, three decimals."""
    return "–" if value is None else _minus(f"{round(value, 3) + 0.0:.3f}")


def signed(value: float | None) -> str:
    """A difference of such, with its sign; none at 0."""
    if value is None:
        return "–"
    return f"+{fixed(value)}" if round(value, 3) > 0 else fixed(value)


def percent(value: float | None) -> str:
    return "–" if value is None else _minus(f"{round(100 * value, 1) + 0.0:.1f}\u00a0%")


def points(value: float | None) -> str:
    """A difference of shares in points of a per cent, with its sign; none at 0."""
    if value is None:
        return "–"
    text = _minus(f"{round(100 * value, 1) + 0.0:.1f}")
    return f"+{text}" if round(100 * value, 1) > 0 else text


def count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def p_value(value: float | None) -> str:
    """Two significant digits, and where it is very small its bound."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:#.2g}".rstrip(".")


def setting(value: object) -> str:
    """A setting's value as a configuration file may have it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text
