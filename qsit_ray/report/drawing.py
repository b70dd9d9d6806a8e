"""pure: drawings as inline SVG whose colours are the page's own CSS variables."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import escape

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib has no CSS variables: each is drawn as a colour that nothing else has, and replaced
# in the SVG. So one drawing serves the light page, the dark page and print.
INK, MUTED, RULE, PAPER = "#010203", "#010204", "#010205", "#010206"
POOLS = ("#010207", "#010208", "#010209", "#01020a")
_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"}
_VARIABLES |= {colour: f"d{number}" for number, colour in enumerate(POOLS, start=1)}
WIDTH = 6.4  # inches of 72 units; the page scales the drawing to its column
_SETTINGS: Any = {
    "svg.fonttype": "none", "font.size": 11.5, "text.color": INK,
    "axes.edgecolor": RULE, "axes.labelcolor": MUTED, "axes.titlecolor": MUTED,
    "axes.titlesize": 11.5, "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False,
    "xtick.color": MUTED, "xtick.labelsize": 11, "xtick.major.size": 3,
    "ytick.color": MUTED, "ytick.labelsize": 11, "ytick.major.size": 0,
    "grid.color": RULE, "grid.linewidth": 0.6,
}  # fmt: skip
_TIP = "tip-"
SAME = 1e-6
"""Values that differ by a smaller share of themselves are drawn as equal."""


def colours(pools: Iterable[str]) -> dict[str, str]:
    """The colour of each pool."""
    return dict(zip(pools, POOLS, strict=False))


def tip(text: str) -> str:
    """The id of an artist that tells `text`, whose lines are apart by ` · `, where it is pointed
    at. In hexadecimal, since not every text may be an id."""
    return f"{_TIP}{text.encode().hex()}"


def point(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """One marker that tells `text` where it is pointed at."""
    line: Artist = axes.plot([x], [y], **style)[0]
    line.set_gid(tip(text))


def plain_values(axes: Axes) -> None:
    """Write the values of a linear y axis out, and give equal ones an axis that shows them so."""
    from matplotlib.ticker import ScalarFormatter

    low, high = axes.get_ylim()
    middle = (low + high) / 2
    if high - low <= SAME * max(abs(middle), 1e-3):
        room = 0.1 * abs(middle) if abs(middle) > 1e-3 else 0.1
        axes.set_ylim(middle - room, middle + room)
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))


def plain_logarithms(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic y axis with values written out, also over less than a factor of 2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.set_yscale("log")
    low, high = min(values), max(values)
    if high - low <= SAME * high:
        axes.set_ylim(low / 1.2, high * 1.2)
    near = high / low < 5
    axes.yaxis.set_major_locator(MaxNLocator(5) if near else LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def ratio_ticks(axes: Axes, low: float, high: float, most: float = 1000) -> None:
    """Ticks at 1, 2 and 5; of a span over `most`, at powers of ten alone."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    steps = (1.0, 2.0, 5.0) if high / low <= most else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def svg(draw: Callable[[Figure], None], height: float, label: str, width: float = WIDTH) -> str:
    """An SVG element without size, namespace or metadata, for an HTML page.

    `height` and `width` in inches; `label` says what it shows, and is also what keeps the ids of a
    page's drawings apart.
    """
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    # The salt keeps ids of one page's plots apart and makes two builds of a run the same.
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": label}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', text)
    body = re.sub(r"<metadata>.*?</metadata>", "", text[text.index(">") + 1 :], flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    body = re.sub(rf'<g id="{_TIP}([0-9a-f]+)">', _told, body)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)  # the page's own font
    body = re.sub(r"\n\s+", "\n", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return f'<svg role="img" aria-label="{escape(label)}" {box.group(0) if box else ""}>{body}'


def _told(found: re.Match[str]) -> str:
    text = bytes.fromhex(found[1]).decode()
    return f'<g class="tip"><title>{escape(text)}</title>'
