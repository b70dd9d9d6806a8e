"""pure: which candidate of a multiple-choice question a reply means.

The default rule is ours and is strict about doubt. What is read is the reply without its wrappers
(`evaluation.wrappers`). The first of these forms that it has decides its candidate:

1. letters: the whole reply is a letter ("B", "(b)", "B."), it starts with one ("B. Low", "(B) Low",
"B - Low", "b. Low", "B" alone on the first line), or it names one ("the answer is B", "Option: B",
"Therefore, B.", a bold "**B. Low**", "C. Noise" followed by its own text); of letters that are
named as the answer or the conclusion the last decides;
2. the whole reply is a candidate's text;
3. it starts with a candidate's text and punctuation ("Yes, there is");
4. it contains the text of one candidate only, as whole words and not after a negation ("far from
clear"); a text inside a longer candidate's match does not count, nor does a yes or no within a
sentence ("no doubt").

Letters that differ, a letter beyond the candidates, or a letter directly before another candidate's
text give None: the reply is unparsable, counts as wrong, and is listed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from qsit_ray.evaluation.wrappers import unwrapped

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ONLY_LETTER = re.compile(r"\(?([A-Za-z])\)?[.):,]?")
# A bare capital may be the article "A": a bracket, punctuation, a dash or the end of its line must
# follow.
_LEADING_LETTER = re.compile(
    r"(?:\(([A-Z])\)|([A-Z])(?:[.):,]+(?=\s|$)|\s+-\s|\s*(?=\n|$))|([a-z])[.):](?=\s|$))[\s:.-]*"
)
_NAMED_LETTER = re.compile(
    r"\b(?:[Aa]nswer|ANSWER|[Oo]ption|[Cc]hoice)(?:\s+is)?\s*[:=]?\s*\(?([A-Z])\)?(?=[.):,\n]|\s*$)"
)
_CONCLUSION = re.compile(
    r"(?:\b(?:(?:correct|best|final|right)\s+(?:answer|option|choice)|answer)\s*(?:is\b|[:=])\s*"
    r"(?:option\s+|choice\s+)?\(?(?-i:([A-Z]))\)?(?=[.):,\n]|\s*$)"
    r"|\b(?:therefore|thus|hence|so)\b\s*,?\s*\(?(?-i:([A-Z]))\)?(?=[.)\n]|\s*$))",
    re.IGNORECASE,
)
# Before or after a conclusion, these take it back.
_DOUBTED = re.compile(
    r"(?:(?:n't|not)\s+(?:think|believe|say|mean)(?:\s+that)?|\bif|\bwhether)\s*(?:the\s*)?$",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(r"\s*,?\s*(?:if|is\s+(?:wrong|not))\b", re.IGNORECASE)
_NEGATION = re.compile(
    r"(?:\b(?:no|not|never|without|neither|nor|cannot|free (?:of|from)|far from|hardly|scarcely"
    r"|barely|lacks?|lacking|absence of|rather than|instead of|anything but|opposite of)\b|n't\b)"
)
# These affirm.
_NO_NEGATION = re.compile(
    r"\b(?:no|without(?: a| any)?|not a|beyond) (?:doubt|question)\b|\bnot (?:only|just|merely)\b"
)
# A yes or no that opens a reply, and is no part of "no doubt" or "yes and no".
_OPENING = re.compile(r"yes\b(?! (?:and|or)\b)|no(?= (?:there|it|this|that|the|i|not)\b)")
# A yes or no that is an answer, not a word of a sentence.
_ALONE = r"(?:^|[.!?:;,(\n]|\b(?:is|say|answer))\s*{word}(?=\s*[.,;:!?)]|\s*$)"


def match(reply: str | None, candidates: Sequence[str]) -> int | None:
    """The candidate, from 0, that a reply means by the default rule; None for none or several."""
    if not isinstance(reply, str):  # missing: None, or NaN
        return None
    text = (
        unicodedata.normalize("NFKC", unwrapped(reply))
        .replace("*", "")
        .replace("`", "")
        .strip()
        .strip("\"'")
    )
    letters = _letters(text, candidates)
    if not letters:
        return _by_text(text, candidates)
    index = _LETTERS.index(letters.pop())
    return index if not letters and index < len(candidates) else None


def official_matches(reply: str, candidates: Sequence[str]) -> list[int]:
    """The candidates, from 0, for which Q-SIT's published test holds; there may be several.

    The reply equals the candidate's letter, contains the letter with a full stop, equals the
    candidate's text, or has the letter alone on a line.
    """
    text = reply.strip()
    lines = [line.strip() for line in text.splitlines()]
    return [
        i
        for i, (letter, candidate) in enumerate(zip(_LETTERS, candidates, strict=False))
        if text in (letter, candidate.strip()) or f"{letter}." in text or letter in lines
    ]


def _letters(text: str, candidates: Sequence[str]) -> set[str]:
    """The letters that a reply names in one of the letter forms."""
    alone = _ONLY_LETTER.fullmatch(text)
    # A candidate may itself be one letter long; then its text decides.
    if alone and text.casefold() not in [c.casefold() for c in candidates]:
        return {alone[1].upper()}
    if concluded := _concluded(text, candidates):
        return {concluded[-1]}
    leading = _LEADING_LETTER.match(text)
    letters = {(leading[1] or leading[2] or leading[3]).upper()} if leading else set()
    letters |= {found[1] for found in _NAMED_LETTER.finditer(text)}
    for i, candidate in enumerate(candidates):
        option = rf"(?<!\w)\(?{_LETTERS[i]}\)?[.):]\s*{re.escape(candidate.strip())}(?!\w)"
        if re.search(option, text, re.IGNORECASE):
            letters.add(_LETTERS[i])
    following = _starts_with(text[leading.end() :], candidates) if leading else None
    return letters if following is None else letters | {_LETTERS[following]}


def _concluded(text: str, candidates: Sequence[str]) -> list[str]:
    """The letters that are named as the answer or a conclusion, in order."""
    known = _LETTERS[: len(candidates)]
    return [
        letter
        for found in _CONCLUSION.finditer(text)
        if (letter := found[1] or found[2]) in known or found[1]
        if not _DOUBTED.search(text[: found.start()])
        if not _TAKEN_BACK.match(text[found.end() :])
    ]


def _by_text(text: str, candidates: Sequence[str]) -> int | None:
    wanted = [_plain(candidate) for candidate in candidates]
    if (reply := _plain(text)) in wanted:
        return wanted.index(reply) if wanted.count(reply) == 1 else None
    if (start := _starts_with(text, candidates)) is not None:
        return start
    if opening := _OPENING.match(reply):
        word = opening[0]
        return wanted.index(word) if wanted.count(word) == 1 else None
    # Longest first, blanking each match: "blur" inside "motion blur" is then not a second answer.
    reply = _NO_NEGATION.sub(lambda hit: "\0" * len(hit[0]), reply)
    rest, found = reply, set()
    for i in sorted(range(len(wanted)), key=lambda i: -len(wanted[i])):
        word = re.escape(wanted[i])
        pattern = rf"(?<!\w){word}(?!\w)"
        if wanted[i] in ("yes", "no"):
            pattern = _ALONE.format(word=word)
        for hit in re.finditer(pattern, rest):
            before = " ".join(reply[: hit.start()].split()[-4:])
            if _NEGATION.search(before.rpartition(".")[2]) and wanted[i] not in ("yes", "no"):
                return None
            found.add(i)
        rest = re.sub(pattern, lambda hit: "\0" * len(hit[0]), rest)
    return found.pop() if len(found) == 1 else None


def _starts_with(text: str, candidates: Sequence[str]) -> int | None:
    """The only candidate whose text starts the reply, followed by punctuation or the end."""
    end = r"(?=\s*[.,;:!\n]|\s+-\s|\s*$)"
    held = [
        i
        for i, candidate in enumerate(candidates)
        if re.match(re.escape(candidate.strip()) + end, text.lstrip(), re.IGNORECASE)
    ]
    return held[0] if len(held) == 1 else None


def _plain(text: str) -> str:
    """Casefolded, with single blanks, without surrounding quotes and final punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip("\"' ").rstrip(".!;:, ")
