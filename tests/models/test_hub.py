"""A model on the Hub is one commit of it, from the cache of this machine."""

import pytest
from huggingface_hub import HfApi, constants, errors

from qsit_ray.errors import InputError
from qsit_ray.models import hub

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The Hub's cache with two commits of a model, of which `main` is the older; no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = tmp_path / "hub" / "models--maker--model"
    for commit in (OLD, NEW):
        folder = model / "snapshots" / commit
        folder.mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_text("{}")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(OLD)
    return model


class Answer:
    def __init__(self, sha):
        self.sha = sha


def hub_answers(monkeypatch, answer):
    asked = []

    def model_info(self, repo, *, revision=None, timeout=None):
        asked.append((repo, revision))
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer)

    monkeypatch.setattr(HfApi, "model_info", model_info)
    return asked


def http_error(kind):
    """An error of the Hub without the answer that it came with."""
    error = kind.__new__(kind)
    Exception.__init__(error, "Client Error")
    return error


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("maker/model", ("maker/model", None)),
        ("maker/model@main", ("maker/model", "main")),
        (f"maker/model@{OLD}", ("maker/model", OLD)),
        ("maker/model-1.5_b@refs/pr/3", ("maker/model-1.5_b", "refs/pr/3")),
    ],
)
def test_a_name_on_the_hub_is_a_repository_and_a_revision(cache, name, expected):
    assert hub.is_on_hub(name)
    assert hub.split(name) == expected


@pytest.mark.parametrize("path", ["/a/b", "./a/b", "../a/b", "~/b", "a", "a/b/c", "here/model"])
def test_a_path_is_not_on_the_hub(cache, tmp_path, path):
    (tmp_path / "here" / "model").mkdir(parents=True)
    assert not hub.is_on_hub(path)
    assert hub.split(path) == (path, None)
    assert str(hub.folder_of(path)) == path.removeprefix("./")


def test_a_name_is_pinned_to_the_commit_that_the_hub_gives(cache, monkeypatch):
    asked = hub_answers(monkeypatch, NEW)
    assert hub.pinned("maker/model") == f"maker/model@{NEW}"
    assert hub.pinned("maker/model@v2") == f"maker/model@{NEW}"
    assert hub.pinned(f"maker/model@{OLD}") == f"maker/model@{OLD}"
    assert asked == [("maker/model", None), ("maker/model", "v2")]


def test_without_the_hub_the_cache_knows_the_commit(cache, monkeypatch):
    hub_answers(monkeypatch, ConnectionError("no route"))
    assert hub.pinned("maker/model") == f"maker/model@{OLD}"
    with pytest.raises(InputError, match=r"^maker/other: .*not in the Hub's cache.*no route$"):
        hub.pinned("maker/other")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (errors.RepositoryNotFoundError, "no such folder, and no such model on the Hub"),
        (errors.GatedRepoError, "accepted its terms"),
        (errors.RevisionNotFoundError, "no revision v2"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(cache, monkeypatch, kind, message):
    hub_answers(monkeypatch, http_error(kind))
    with pytest.raises(InputError, match=rf"^maker/model@v2: .*{message}") as error:
        hub.pinned("maker/model@v2")
    assert "\n" not in str(error.value)


def test_a_pinned_model_is_found_in_the_cache_without_a_question(cache, monkeypatch):
    asked = hub_answers(monkeypatch, AssertionError("asked"))
    for commit in (OLD, NEW):
        assert hub.folder_of(f"maker/model@{commit}") == cache / "snapshots" / commit
    assert asked == []


def test_a_part_of_a_model_in_the_cache_is_not_the_model(cache, monkeypatch):
    """As another program leaves it that has read the configuration alone."""
    (cache / "snapshots" / NEW / "model.safetensors").unlink()
    assert hub.cached(f"maker/model@{NEW}") is None
    fetched = []

    def fetch(name):
        fetched.append(name)
        return cache

    monkeypatch.setattr(hub, "fetch", fetch)
    assert hub.folder_of(f"maker/model@{NEW}") == cache
    assert fetched == [f"maker/model@{NEW}"]


def test_a_model_that_can_not_be_fetched_is_named(cache):
    with pytest.raises(InputError, match=f"^maker/other@{NEW}: can't be fetched from the Hub: "):
        hub.folder_of(f"maker/other@{NEW}")
