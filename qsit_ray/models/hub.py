"""pure: models of the Hugging Face Hub: pinned to a commit, fetched once into the Hub's cache."""

from __future__ import annotations

import re
from pathlib import Path

from qsit_ray.errors import InputError
from qsit_ray.models.headers import weight_files

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"(?P<repo>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_TIMEOUT = 20.0  # seconds for an answer of the Hub
# Weights are read from safetensors alone, so other formats of them are not fetched.
_FILES = ["*.safetensors", "*.json", "*.txt", "*.jinja"]


def is_on_hub(name: str) -> bool:
    """True for `organisation/model` and `organisation/model@revision`, unless it is a path."""
    return _NAME.fullmatch(name) is not None and not Path(name).exists()


def split(name: str) -> tuple[str, str | None]:
    """The repository of a name on the Hub and its revision, None where it has none.

    The name of a folder is returned whole.
    """
    found = _NAME.fullmatch(name) if is_on_hub(name) else None
    return (found["repo"], found["revision"]) if found else (name, None)


def pinned(name: str) -> str:
    """`organisation/model@commit` of a name on the Hub, whose revision is `main` unless given.

    Without the Hub the commit is the one in its cache. Raises InputError when there is neither.
    """
    from huggingface_hub import HfApi, errors

    repo, revision = split(name)
    if revision is not None and _COMMIT.fullmatch(revision):
        return name
    try:
        return f"{repo}@{HfApi().model_info(repo, revision=revision, timeout=_TIMEOUT).sha}"
    except errors.GatedRepoError:
        reason = "on the Hub it is only for those who have accepted its terms and are logged in"
    except errors.RepositoryNotFoundError:
        reason = "no such folder, and no such model on the Hub that you may read"
    except errors.RevisionNotFoundError:
        reason = f"the Hub has this model, but no revision {revision}"
    except Exception as error:  # of the network, the proxy or the Hub: each library has its own
        if (folder := cached(name)) is not None:
            return f"{repo}@{folder.name}"
        reason = f"no such folder, not in the Hub's cache, and the Hub does not answer: {error}"
    raise InputError(f"{name}: {' '.join(reason.split())}")


def fetch(name: str) -> Path:
    """Fetch the files of a model on the Hub that its cache lacks; return its folder there.

    Raises InputError naming the model when that fails.
    """
    from huggingface_hub import snapshot_download

    repo, revision = split(pinned(name))
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # of the network, the Hub or the disk: each library has its own
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: can't be fetched from the Hub: {reason}") from error


def folder_of(name: str) -> Path:
    """The folder of a base model: `name` itself, or its folder in the Hub's cache.

    Nothing is asked of the Hub unless this machine's cache lacks the model. Raises InputError when
    it can't be fetched then.
    """
    if not is_on_hub(name):
        return Path(name)
    return cached(name) or fetch(name)


def further_file(name: str, file: str) -> Path | None:
    """A file of a model on the Hub that a snapshot in its cache may lack, because another program
    fetched no more than it needed. The Hub is asked once; None where it has no such file, or does
    not answer."""
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    repo, commit = split(name)[0], folder_of(name).name
    known = try_to_load_from_cache(repo, file, revision=commit)
    if isinstance(known, str):
        return Path(known)
    if known is not None:  # the Hub has said that there is none
        return None
    try:
        return Path(hf_hub_download(repo, file, revision=commit))
    except (errors.HfHubHTTPError, errors.EntryNotFoundError, OSError):
        return None


def cached(name: str) -> Path | None:
    """The folder of a model on the Hub in its cache; None where the cache has not all of it."""
    from huggingface_hub import errors, snapshot_download

    repo, revision = split(name)
    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=_FILES, local_files_only=True
        )
        weight_files(Path(folder))  # others may have fetched a part of it
    except (errors.LocalEntryNotFoundError, InputError):
        return None
    return Path(folder)
