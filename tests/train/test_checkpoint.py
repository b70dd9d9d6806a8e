"""The checkpoint that a training resumes from, after kills at awkward moments."""

import shutil

import pytest

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.train.checkpoint import Checkpoints, Commit, check_resumable

INPUTS = {"mixture": {"rows": 3}, "catalog": "abc"}


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path / "train" / "ray-1", kept=2)
    made.claim("first", INPUTS)
    return made


def commit(checkpoints, epoch, step=0, loss=None, session="first"):
    """A checkpoint of two files, committed; the name of the one that is on disk."""
    name = f"epoch_{epoch:04d}_step_{step:06d}"
    for part in ("a", "b"):
        file = checkpoints.folder / name / part / "weights"
        file.parent.mkdir(parents=True)
        file.write_text("whole")
    checkpoints.commit(Commit(name, epoch, step, loss), session)
    return name


def names(checkpoints):
    return {path.name for path in checkpoints.folder.iterdir() if path.is_dir()}


def test_training_resumes_from_the_last_commit(checkpoints):
    assert checkpoints.latest() is None
    commit(checkpoints, 1, loss=2.0)
    last = commit(checkpoints, 1, step=5)
    found, folder = checkpoints.latest()
    assert (found.name, found.epoch, found.step) == (last, 1, 5)
    assert folder == checkpoints.folder / last


def test_the_last_and_the_best_are_kept(checkpoints):
    losses = (3.0, 1.0, 2.0, None, 2.5)
    made = [commit(checkpoints, epoch, loss=loss) for epoch, loss in enumerate(losses)]
    kept = [made[1], *made[3:]]
    assert [each.name for each in checkpoints.commits()] == kept
    assert names(checkpoints) == set(kept)


def test_uncommitted_checkpoints_and_rays_torn_list_are_removed(checkpoints):
    kept = commit(checkpoints, 1)
    half = checkpoints.folder / "epoch_0002_step_000000"
    half.mkdir()
    (half / "weights").write_text("half")
    (checkpoints.folder / "checkpoint_manager_snapshot.json").write_text('{"ray_ver')
    checkpoints.claim("second", INPUTS)
    assert names(checkpoints) == {kept}
    assert {path.name for path in checkpoints.folder.iterdir()} == {kept, "committed.json"}


def test_a_session_that_was_taken_over_commits_nothing(checkpoints):
    kept = commit(checkpoints, 1)
    checkpoints.claim("second", INPUTS)
    with pytest.raises(RuntimeError, match="another session"):
        commit(checkpoints, 2)
    assert [each.name for each in checkpoints.commits()] == [kept]


@pytest.mark.parametrize("way", ["absolute", "above", "link"])
def test_a_checkpoint_from_elsewhere_is_refused_and_left_alone(checkpoints, tmp_path, way):
    commit(checkpoints, 1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights").write_text("pickled")
    name = {"absolute": str(elsewhere), "above": "../../elsewhere", "link": "epoch_0002"}[way]
    if way == "link":
        (checkpoints.folder / name).symlink_to(elsewhere)
    content = artifacts.read_json(checkpoints.file)
    content["commits"].append({**content["commits"][-1], "name": name, "files": {"weights": 7}})
    artifacts.write_json(checkpoints.file, content)
    for use in (checkpoints.latest, lambda: checkpoints.claim("second", INPUTS)):
        with pytest.raises(InputError, match="leads out of this folder"):
            use()
    assert (elsewhere / "weights").read_text() == "pickled"


def test_an_incomplete_checkpoint_is_refused(checkpoints):
    folder = checkpoints.folder / commit(checkpoints, 1)
    (folder / "b" / "weights").write_text("who")
    with pytest.raises(InputError, match="b/weights: 3 bytes of 5"):
        checkpoints.latest()
    (folder / "b" / "weights").unlink()
    with pytest.raises(InputError, match="b/weights: missing"):
        checkpoints.latest()
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="a/weights: missing"):
        checkpoints.latest()


@pytest.mark.parametrize("text", ["{", '{"commits": [{"name": "x", "what": 1}]}'])
def test_an_unreadable_list_of_commits_is_named(checkpoints, text):
    checkpoints.file.write_text(text)
    with pytest.raises(InputError, match=r"committed\.json"):
        checkpoints.latest()


def test_recorded_epochs_without_a_checkpoint_are_not_trained_again(tmp_path, checkpoints):
    train = tmp_path / "train"
    check_resumable(train, train / "epochs.jsonl", checkpoints, INPUTS)
    artifacts.write_jsonl(train / "epochs.jsonl", [{"epoch": 0}])
    with pytest.raises(InputError, match="no checkpoint holds them"):
        check_resumable(train, train / "epochs.jsonl", checkpoints, INPUTS)
    commit(checkpoints, 1)
    check_resumable(train, train / "epochs.jsonl", checkpoints, INPUTS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mixture": {"rows": 4}}, r"another mixture\.rows;"),
        ({"catalog": "abd"}, "another catalog;"),
    ],
)
def test_a_training_of_other_inputs_is_not_overwritten(tmp_path, checkpoints, changed, message):
    train = tmp_path / "train"
    commit(checkpoints, 0, step=3)
    mine = Checkpoints(train / "ray-2", kept=2)
    with pytest.raises(InputError, match=message):
        check_resumable(train, train / "epochs.jsonl", mine, {**INPUTS, **changed})
