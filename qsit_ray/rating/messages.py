"""pure: an image and a question as messages of OpenAI's protocol, and the log-probabilities in
its replies.

The fields are those of vLLM 0.33. `logprob_token_ids` gives the log-probabilities of the level
tokens whatever their rank. Older servers ignore it; there `allowed_token_ids` leaves only the level
tokens where the server's log-probabilities are processed (--logprobs-mode processed_logprobs), and
elsewhere the 20 likeliest tokens come back, with the level tokens or without.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from qsit_ray.data import images
from qsit_ray.data.encode import IMAGE, Shown, asked
from qsit_ray.errors import InputError
from qsit_ray.prompts import Profile

MOST_LOGPROBS = 20
"""The most alternatives of a token that OpenAI's protocol gives."""
MISSING = -9999.0
"""What vLLM writes for a log-probability that is not finite."""
GREEDY = {
    "temperature": 0,
    # Else vLLM takes those of the checkpoint's generation_config.json.
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
Message = dict[str, Any]


def data_url(shown: Shown) -> str:
    """An image as a data: URL: a file's own bytes where every server reads them as this project
    does, else its upright RGB pixels as PNG. vLLM would lay transparent pixels over white.

    Raises InputError naming a file that can't be read.
    """
    if not isinstance(shown, Image.Image):
        file = shown if isinstance(shown, images.Content) else Path(shown)
        if images.is_plain(file):
            content = file.read_bytes()
            return _url(content, _kind(content))
        shown = images.read(file)
    picture = shown.copy()
    picture.info = {}  # neither EXIF nor a colour profile goes with the pixels
    kept = io.BytesIO()
    picture.save(kept, "PNG", compress_level=1)
    return _url(kept.getvalue(), "png")


def _kind(content: bytes) -> str:
    if content.startswith(b"\xff\xd8"):
        return "jpeg"
    return "png" if content.startswith(b"\x89PNG") else "webp"


def _url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def user(question: str, url: str) -> Message:
    """The user's turn of a question, the image where its token stands. Raises InputError unless
    the question has the image's token once."""
    if question.count(IMAGE) != 1:
        raise InputError(f"a question has {IMAGE} once, for its image: {question!r}")
    before, after = question.split(IMAGE)
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}}]
    if before:
        parts.insert(0, {"type": "text", "text": before})
    if after:
        parts.append({"type": "text", "text": after})
    return {"role": "user", "content": parts}


def assistant(text: str) -> Message:
    """An answer's turn."""
    return {"role": "assistant", "content": text}


def prompt_text(profile: Profile) -> str:
    """The text of a score's prompt up to the answer, with the image's token."""
    question = profile.question
    return asked(question) if profile.chat is None else profile.chat.format(question=question)


def score_settings(tokens: Sequence[int] | None) -> dict[str, Any]:
    """What asks for the log-probabilities behind the stem; `tokens`: the level words', where they
    are known."""
    restricted = {} if tokens is None else {
        "logprob_token_ids": list(tokens),
        "allowed_token_ids": list(tokens),
        "return_tokens_as_token_ids": True,
    }  # fmt: skip
    return {
        **GREEDY,
        "max_tokens": 1,
        "logprobs": True,
        "top_logprobs": MOST_LOGPROBS,
        "continue_final_message": True,
        "add_generation_prompt": False,
        **restricted,
    }


def choice_settings() -> dict[str, Any]:
    """What asks for the log-probability of each token of a whole answer, its end included."""
    return {
        **GREEDY,
        "max_tokens": 1,
        "prompt_logprobs": 0,
        "continue_final_message": False,
        "add_generation_prompt": False,
    }


def level_logprobs(body: Any, profile: Profile, tokens: Sequence[int] | None) -> list[float]:
    """The log-probability of each level word behind the stem, up to a constant, in the order of
    `profile.words`. Without the words' `tokens` a word is known by its text.

    Raises LookupError where the reply has no log-probabilities at all, and InputError that names
    the words that are not among them.
    """
    known = _logprobs(body)
    if tokens is None:
        space = "" if profile.stem.endswith(" ") else " "
        names = [space + word for word in profile.words]
    else:
        names = [f"token_id:{token}" for token in tokens]
    missing = [
        word
        for word, name in zip(profile.words, names, strict=True)
        if known.get(name, MISSING) <= MISSING
    ]
    if missing:
        raise InputError(
            f"no log-probability of {', '.join(missing)}, only of {len(known)} likelier tokens"
        )
    return [known[name] for name in names]


def _logprobs(body: Any) -> dict[str, float]:
    """{token: log-probability} of the first token of a reply and its alternatives."""
    try:
        first = body["choices"][0]["logprobs"]["content"][0]
        every = [*(first.get("top_logprobs") or []), first]
        known: dict[str, float] = {}
        for each in every:
            known.setdefault(each["token"], float(each["logprob"]))
        return known
    except (LookupError, TypeError, AttributeError, ValueError):
        raise LookupError("the reply has no log-probabilities") from None


def answer_logprob(body: Any, answer: Sequence[int], after: int) -> float:
    """The log-probability of an `answer` that ends a prompt, but for `after` tokens behind it.

    Raises LookupError where the reply has no log-probabilities of its prompt, or of other tokens
    than the answer's there.
    """
    found = body.get("prompt_logprobs")
    if not isinstance(found, list) or len(found) < len(answer) + after:
        raise LookupError("the reply has no log-probabilities of its prompt (prompt_logprobs)")
    at = len(found) - after - len(answer)
    total = 0.0
    for token, place in zip(answer, found[at:], strict=False):
        value = place.get(str(token)) if isinstance(place, Mapping) else None
        if not isinstance(value, Mapping) or not isinstance(value.get("logprob"), int | float):
            raise LookupError("the prompt does not end in the candidate and the end of its turn")
        total += value["logprob"]
    return total


def is_whole(body: Any) -> bool:
    """Whether the model ended its answer."""
    return bool(body["choices"][0].get("finish_reason") == "stop")


def usage(body: Any) -> tuple[int | None, int | None]:
    """Tokens of the prompt and of the answer, where the server counts them."""
    counted = body.get("usage") or {}
    return counted.get("prompt_tokens"), counted.get("completion_tokens")


def without_repeats(tokens: Sequence[int], image: int) -> list[int]:
    """A prompt's tokens with one token for its image, which servers repeat for each feature."""
    pairs = zip([None, *tokens], tokens, strict=False)
    return [token for before, token in pairs if not (token == image == before)]
