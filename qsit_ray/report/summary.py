"""pure: the answer of a run in a few words: what was gained, what it cost, how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qsit_ray.report.formats import p_value, percent, points, signed, significant
from qsit_ray.report.ledger import Ledger
from qsit_ray.report.paired import PairedTest
from qsit_ray.report.searches import SearchView
from qsit_ray.search.estimate import PAPER_HOURS

PRIMARY, UNTRAINED = "primary", "primary_untrained"


@dataclass(frozen=True)
class Fact:
    """A line of the answer: its name and its sentences."""

    name: str
    sentences: tuple[str, ...]


def facts(
    tests: Sequence[PairedTest],
    costs: Ledger,
    searches: Sequence[SearchView],
    is_papers: bool = True,
) -> list[Fact]:
    """Gain, cost and certainty, each where it is known. `is_papers`: the cost is of what the paper
    did, which a rehearsal's and that of other pools is not."""
    found = [
        Fact("Gain", tuple(filter(None, [gain(tests)]))),
        Fact("Cost", tuple(filter(None, [cost(costs, is_papers)]))),
        Fact("How sure", tuple(certainty(searches))),
    ]
    return [fact for fact in found if fact.sentences]


def gain(tests: Sequence[PairedTest]) -> str:
    """The primary against itself before training; empty where they were not compared."""
    of_both = [test for test in tests if (test.a, test.b) == (PRIMARY, UNTRAINED)]
    known = [test for test in of_both if test.difference.difference is not None]
    parts = []
    for metric in ("SRCC", "PLCC"):
        found = [test for test in known if test.metric == metric]
        if len(found) == 1:
            parts.append(f"{metric} {_shown(found[0])}")
        elif found:
            mean = float(np.mean([test.difference.difference for test in found]))
            above = sum(_is_above(test) for test in found)
            parts.append(
                f"{metric} {signed(mean)} in the mean of {len(found)} data sets, with an "
                f"interval above 0 in {above} of them"
            )
    parts += [f"accuracy {_shown(test)}" for test in known if test.metric == "accuracy"]
    return f"Against the untrained primary: {'; '.join(parts)}." if parts else ""


def _shown(test: PairedTest) -> str:
    found = test.difference
    is_share = test.metric == "accuracy"
    text = f"{points(found.difference)} points" if is_share else signed(found.difference)
    if found.interval is not None:
        form = points if is_share else signed
        text += f" ({form(found.interval[0])} to {form(found.interval[1])}"
        text += f", p {_equals(test.p_value)})" if test.p_value is not None else ")"
    return text


def _equals(value: float) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"


def _is_above(test: PairedTest) -> bool:
    return test.difference.interval is not None and test.difference.interval[0] > 0


def cost(costs: Ledger, is_papers: bool = True) -> str:
    """Device time by part, and what the paper reports; empty before any stage has ended."""
    if not costs.stages:
        return ""
    parts = [f"{duration(costs.search_seconds)} for the search"] if costs.trials else []
    if costs.primary_seconds:
        parts.append(f"{duration(costs.primary_seconds)} for the primary")
    text = f"{duration(costs.device_seconds)} of device time"
    text += f", of which {' and '.join(parts)}" if parts else ""
    if not is_papers:
        return f"{text}."
    hours = "{search:g} and {primary:g}".format(**PAPER_HOURS)
    return f"{text}; the paper: {hours} GPU-hours of an A800."


def against_paper(costs: Ledger) -> list[tuple[str, float | None, float]]:
    """Device-hours of search, primary and both, each here and on the paper's A800 GPUs."""
    search = costs.search_seconds / 3600 if costs.trials else None
    primary = costs.primary_seconds / 3600 if costs.primary_seconds else None
    both = None if search is None or primary is None else search + primary
    return [
        ("Proxies: both searches and the final proxies", search, PAPER_HOURS["search"]),
        ("Primary, one training", primary, PAPER_HOURS["primary"]),
        ("Both", both, PAPER_HOURS["search"] + PAPER_HOURS["primary"]),
        ("The same search with the primary", None, PAPER_HOURS["search_with_primary"]),
    ]


def certainty(searches: Sequence[SearchView]) -> list[str]:
    """How well each search knows its optimum, once it is fitted."""
    sentences = []
    for search in searches:
        if search.fitted is None:
            continue
        fit = search.fitted.fit
        share = f"{100 * fit.confidence:g} %"
        low, high = map(significant, fit.interval)
        text = (
            f"{search.title} = {significant(search.fitted.ratio)}, {share} interval {low} to {high}"
        )
        if fit.noise is not None:
            zone = " and ".join(map(significant, fit.regret_zone))
            text += f"; between {zone} no more than {fit.tolerance:.2g} of the score is lost"
        if search.fitted.doubts:
            text += f". In doubt: {'; '.join(search.fitted.doubts)}"
        sentences.append(f"{text}.")
    return sentences


def duration(seconds: float) -> str:
    """Hours, minutes or seconds, three digits."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds)} s"


def paper_share(hours: float | None, papers: float) -> str:
    """Hours as a share of the paper's."""
    return "–" if hours is None else percent(hours / papers) if hours / papers > 5e-4 else "< 0.1 %"
