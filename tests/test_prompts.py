"""Two profiles of a scoring prompt; a tokenizer that confuses the levels is refused."""

import base64
import importlib.util
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from qsit_ray.demo.models import _QWEN_SPLIT
from qsit_ray.errors import InputError
from qsit_ray.levels import two_level_margin
from qsit_ray.models.profiles import named
from qsit_ray.prompts import (
    OFFICIAL,
    PAPER,
    PROFILES,
    Profile,
    check_alone,
    level_tokens,
    levels_in,
)

# The logits that the release's author printed for one image, and its README's score of them
# (zzc-1998/Q-SiT, issue 12); worst level first.
RELEASED_LOGITS = (15.3984375, 12.1015625, 11.0390625, 9.390625, 11.953125)
RELEASED_SCORE = 0.045549712192942585
# The same print-out's token numbers.
RELEASED_TOKENS = {"Bad": 17082, "Poor": 84103, "Fair": 60795, "Good": 15216, "Excellent": 49655}


def byte_pair(merges):
    """A byte-level BPE tokenizer with exactly these merges, such as "e x"."""
    pairs = [tuple(merge.split(" ")) for merge in merges]
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(pair) for pair in pairs]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=core)


def words(*names, in_context=False):
    weights = tuple(float(i) for i in range(len(names)))
    return Profile("mine", "Q\n<image>", "It is", names, weights, in_context)


def test_paper_and_official_are_the_papers_and_the_releases_prompts():
    assert PROFILES == {"paper": PAPER, "official": OFFICIAL}
    assert PAPER.words == ("bad", "poor", "fair", "good", "excellent")
    assert (PAPER.score_range, OFFICIAL.score_range) == ((1.0, 5.0), (0.0, 1.0))
    assert OFFICIAL.stem == "The quality of this image is "
    assert all(profile.question.count("<image>") == 1 for profile in PROFILES.values())
    assert "Excellent, Good, Fair, Poor, and Bad (from high to low)" in OFFICIAL.question
    assert named("official") is OFFICIAL
    with pytest.raises(InputError, match="'papr' is not known; expected one of: paper, official"):
        named("papr")


def test_the_released_logits_give_the_released_score():
    assert OFFICIAL.score(RELEASED_LOGITS) == pytest.approx(RELEASED_SCORE, abs=1e-15)
    five = PAPER.score(RELEASED_LOGITS)
    assert five == pytest.approx(4 * RELEASED_SCORE + 1, abs=1e-15)
    assert OFFICIAL.on_five(OFFICIAL.score(RELEASED_LOGITS)) == pytest.approx(five)
    assert PAPER.on_five(five) == pytest.approx(five)


@pytest.mark.parametrize("change", [{"weights": (1.0, 2.0)}, {"words": ("bad",) * 5}])
def test_words_and_weights_that_do_not_fit_are_refused(change):
    with pytest.raises(InputError, match="profile paper: needs two or more different level words"):
        replace(PAPER, **change)


@pytest.mark.parametrize("weights", [(5.0, 4.0, 3.0, 2.0, 1.0), (1.0, 2.0, 3.0, 4.0, np.nan)])
def test_weights_must_rise(weights):
    with pytest.raises(InputError, match="weights must rise"):
        replace(PAPER, weights=weights)


def test_the_rank_key_orders_as_the_score_does():
    logits = np.random.default_rng(0).normal(0, 3, (2000, 5))
    for profile in PROFILES.values():
        key, score = profile.rank_key(logits), profile.score(logits)
        assert (np.argsort(key, kind="stable") == np.argsort(score, kind="stable")).all()
        low, high = profile.score_range
        assert key == pytest.approx(np.log((score - low) / (high - score)), abs=1e-8)


def test_the_rank_key_ties_equal_scores_and_separates_saturated_ones():
    # Logits that are symmetric about the middle give exactly 3, regardless of how exp rounds.
    sides = np.random.default_rng(1).normal(0, 5, (500, 2))
    symmetric = np.column_stack([sides, np.zeros(500), sides[:, ::-1]])
    assert (PAPER.rank_key(symmetric) == 0).all()
    # All softmaxes this steep give the same score.
    steep = np.array([[0, 0, 0, 0, 60.0], [0, 0, 0, 0, 90.0], [0, 0, 0, 0, 1500.0]])
    assert len(set(PAPER.score(steep))) == 1
    assert (np.diff(PAPER.rank_key(steep)) > 0).all()
    assert np.isfinite(PAPER.rank_key(steep)).all()


def test_the_rank_key_of_two_levels_is_their_margin():
    logits = np.array([[3.5, -2.25], [0.0, 100.0]])
    expected = two_level_margin(logits[:, 1], logits[:, 0])
    assert words("poor", "good").rank_key(logits) == pytest.approx(expected)


def test_logits_that_are_missing_have_no_rank():
    with pytest.raises(InputError, match="not finite in row 2"):
        PAPER.rank_key([[0.0] * 5, [np.nan] * 5])
    with pytest.raises(InputError, match="4 level logits a row, but 5 weights"):
        PAPER.rank_key([0.0] * 4)


def test_words_that_share_their_first_token_are_refused():
    tokenizer = byte_pair(["e x", "t r"])
    with pytest.raises(
        InputError, match=r"profile mine: level words 'extreme' and 'excellent' begin with the same"
    ):
        level_tokens(tokenizer, words("bad", "extreme", "excellent"))
    # After a space both begin with that space.
    with pytest.raises(InputError, match="'bad' and 'good' begin with the same token"):
        level_tokens(tokenizer, words("bad", "good", in_context=True))


def test_a_word_of_several_tokens_has_its_first_token():
    tokenizer = byte_pair(["c e", "l l", "o d", "Ġ g", "Ġ b"])
    split = tokenizer.tokenize("Excellent")
    assert split == ["E", "x", "ce", "ll", "e", "n", "t"]
    found = level_tokens(tokenizer, words("Bad", "Poor", "Fair", "Good", "Excellent"))
    assert tokenizer.convert_ids_to_tokens(found) == ["B", "P", "F", "G", "E"]
    found = level_tokens(tokenizer, words("bad", "good", in_context=True))
    assert tokenizer.convert_ids_to_tokens(found) == ["Ġb", "Ġg"]


def test_a_stem_that_changes_with_the_word_is_refused():
    # The last byte of the stem is merged with the space after it.
    tokenizer = byte_pair(["s Ġ"])
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    with pytest.raises(InputError, match="'bad': the tokenizer merges it with the stem"):
        level_tokens(tokenizer, words("bad", "good", in_context=True))


def test_a_word_within_another_has_its_place_twice():
    tokenizer = byte_pair(["Ġ n", "Ġ g", "Ġ b"])
    mine = words("bad", "not good", "good", in_context=True)
    assert len(level_tokens(tokenizer, mine)) == 3
    with pytest.raises(InputError, match=r"'It is not good\.' has the tokens of several"):
        check_alone(tokenizer, mine)
    check_alone(tokenizer, words("bad", "not", "good", in_context=True))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is VERY GOOD, not good", ["very good", "good"]),
        ("goodish bad-good", ["good"]),
        ("C+ or c+, ★.", ["C+", "C+", "★"]),
        ("ZAYIF ya da zayıf", ["zayıf", "zayıf"]),
        ("", []),
    ],
)
def test_level_words_are_found_where_no_letter_touches_them(text, found):
    assert levels_in(text, ("good", "very good", "C+", "★", "zayıf")) == found


def test_a_word_without_a_token_is_refused():
    def lost(text, add_special_tokens):
        return {"input_ids": [7] if text == "bad" else []}

    with pytest.raises(InputError, match="level word 'good' has no token"):
        level_tokens(lost, words("bad", "good"))


class QwenVocabulary:
    """Qwen's byte-pair tokens read from a tiktoken file; enough to tokenise a sentence."""

    def __init__(self, file):
        lines = (line.split() for line in file.read_bytes().splitlines() if line)
        self.ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
        self.split = pre_tokenizers.Split(Regex(_QWEN_SPLIT), behavior="isolated")

    def __call__(self, text, add_special_tokens):
        pieces = self.split.pre_tokenize_str(text)
        return {"input_ids": [token for piece, _ in pieces for token in self.merge(piece)]}

    def merge(self, piece):
        parts = [bytes([byte]) for byte in piece.encode()]
        while len(parts) > 1:
            pairs = [self.ranks.get(a + b, np.inf) for a, b in pairwise(parts)]
            at = int(np.argmin(pairs))
            if pairs[at] == np.inf:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return [self.ranks[part] for part in parts]


@pytest.fixture(scope="module")
def qwen():
    named = os.environ.get("QSIT_QWEN_VOCABULARY")
    spec = None if named else importlib.util.find_spec("dashscope")
    if named is None and spec is None:
        pytest.skip("no Qwen vocabulary: set QSIT_QWEN_VOCABULARY, see docs/SCORING.md")
    file = Path(named or Path(spec.origin).parent / "resources" / "qwen.tiktoken")
    return QwenVocabulary(file)


def test_qwen_keeps_the_levels_of_both_profiles_apart(qwen):
    assert level_tokens(qwen, PAPER) == [3873, 7852, 6624, 1661, 9073]
    assert level_tokens(qwen, OFFICIAL) == [RELEASED_TOKENS[word] for word in OFFICIAL.words]
    stem = qwen(PAPER.stem, add_special_tokens=False)["input_ids"]
    for word, token in zip(PAPER.words, level_tokens(qwen, PAPER), strict=True):
        answer = qwen(f"{PAPER.stem} {word}.", add_special_tokens=False)["input_ids"]
        assert answer[:-1] == [*stem, token]


def test_qwen_with_words_that_collide_is_refused(qwen):
    lower = replace(OFFICIAL, words=("bad", "poor", "fair", "good", "goodish"))
    with pytest.raises(InputError, match="'good' and 'goodish' begin with the same token"):
        level_tokens(qwen, lower)
