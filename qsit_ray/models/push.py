"""pure: an exported model to the Hugging Face Hub: what can be known before, and the upload."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsit_ray.errors import InputError

_NAME = re.compile(r"[^/@\s]+/[^/@\s]+")
_DENIED = (401, 403, 404)  # the Hub hides what one may not see
# Weights of an earlier push with another number of files: transformers would read these.
_WEIGHTS = ["model.safetensors", "model-?????-of-?????.safetensors", "model.safetensors.index.json"]
_TIMEOUT = 20.0  # seconds for an answer of the Hub


@dataclass(frozen=True)
class Target:
    """A repository of models on the Hub, `owner/name`, to push to; `exists`: already now."""

    repo: str
    is_public: bool
    exists: bool


def check(name: str, public: bool) -> Target:
    """The repository `name`, as far as the Hub tells before an upload whether it can be.

    Raises InputError for a name that is none, offline, without a login, for a Hub that does not
    answer, where this login may not write, and where the repository is public and `public` is not
    asked for, or the reverse.
    """
    from huggingface_hub import HfApi, errors, is_offline_mode, utils

    try:
        if not _NAME.fullmatch(name):
            raise InputError("expected OWNER/NAME")
        utils.validate_repo_id(name)  # type: ignore[attr-defined, unused-ignore]
        if is_offline_mode():
            raise InputError("HF_HUB_OFFLINE is set, and a push needs the Hub")
        api = HfApi()
        user = api.whoami()
        exists = _exists(api, name, user, public)
    except errors.HFValidationError as error:
        raise InputError(f"--push {name}: {_line(error)}") from None
    except errors.LocalTokenNotFoundError:
        raise InputError(
            f"--push {name}: not logged in; set HF_TOKEN, or call `hf auth login`"
        ) from None
    except InputError as error:
        raise InputError(f"--push {name}: {error}") from None
    except Exception as error:  # of the network, the proxy or the Hub: each library has its own
        if _status(error) == 401:
            reason = "the Hub does not know this token; check HF_TOKEN, or call `hf auth login`"
        else:
            reason = f"the Hub does not answer: {_line(error)}"
        raise InputError(f"--push {name}: {reason}") from None
    return Target(name, public, exists)


def _exists(api: Any, name: str, user: dict[str, Any], public: bool) -> bool:
    """Raises InputError where it is known that `user` may not push there."""
    from huggingface_hub import errors

    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise InputError("this token may only read; a push needs one that may write")
    try:
        found = api.model_info(name, timeout=_TIMEOUT)
    except errors.RepositoryNotFoundError:
        # A fine-grained token may not list all that it may do.
        if role != "fineGrained" and name.partition("/")[0].lower() not in _owners(user):
            raise InputError(f"{user['name']} may not create models there") from None
        return False
    try:
        api.auth_check(name, write=True)
    except errors.HfHubHTTPError as error:
        if _status(error) not in _DENIED:
            raise
        raise InputError(f"{user['name']} may not write to it") from None
    if found.private and public:
        raise InputError("it is private; --public is for one that is public or new")
    if not found.private and not public:
        raise InputError("it is public; give --public to push to it")
    return True


def _owners(user: dict[str, Any]) -> set[str]:
    """The user and the organisations in which the user may write, in small letters."""
    organisations = user.get("orgs", [])
    writing = [each["name"] for each in organisations if each.get("roleInOrg") != "read"]
    return {name.lower() for name in (user["name"], *writing)}


def push(folder: Path, names: Sequence[str], target: Target) -> str:
    """Upload the files `names` of a folder; return the repository's address.

    A repository that is missing is created. Other files stay there, but for weights of an earlier
    push. Raises InputError where the Hub refuses, or can't be reached any more.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        if not target.exists:
            api.create_repo(target.repo, private=not target.is_public, exist_ok=True)
        api.upload_folder(
            repo_id=target.repo,
            folder_path=folder,
            allow_patterns=[glob.escape(name) for name in names],
            delete_patterns=_WEIGHTS,
            commit_message="Upload a model trained by qsit_ray",
        )
    except Exception as error:  # of the network, the proxy or the Hub: each library has its own
        again = f"hf upload {target.repo} {folder}" + ("" if target.is_public else " --private")
        raise InputError(
            f"{target.repo}: not pushed: {_line(error)}; {folder} is whole; `{again}`"
        ) from None
    return f"{api.endpoint}/{target.repo}"


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
