"""Which checkpoint a training goes on from, after kills at awkward moments."""

import pytest

from qsit_ray import artifacts
from qsit_ray.errors import InputError
from qsit_ray.train.checkpoint import Checkpoints, Commit, check_standing

INPUTS = {"mixture": {"rows": 3}, "catalog": "abc"}


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path / "train" / "ray-1", kept=2)
    made.claim("first", INPUTS)
    return made


def commit(checkpoints, epoch, step=0, loss=None, session="first"):
    name = f"epoch_{epoch:04d}_step_{step:06d}"
    (checkpoints.folder / name).mkdir()
    new = Commit(name, epoch, step, loss)
    checkpoints.commit(new, session)
    return new


def names(checkpoints):
    return {path.name for path in checkpoints.folder.iterdir() if path.is_dir()}


def test_training_goes_on_from_the_last_commit(checkpoints):
    assert checkpoints.latest() is None
    commit(checkpoints, 1, loss=2.0)
    last = commit(checkpoints, 1, step=5)
    assert checkpoints.latest() == (last, checkpoints.folder / last.name)


def test_the_last_and_the_best_are_kept(checkpoints):
    losses = (3.0, 1.0, 2.0, None, 2.5)
    made = [commit(checkpoints, epoch, loss=loss) for epoch, loss in enumerate(losses)]
    assert checkpoints.commits() == [made[1], *made[3:]]
    assert names(checkpoints) == {m.name for m in (made[1], *made[3:])}


def test_what_was_not_committed_and_rays_torn_list_are_cleared_away(checkpoints):
    kept = commit(checkpoints, 1)
    half = checkpoints.folder / "epoch_0002_step_000000"
    half.mkdir()
    (half / "weights").write_text("half")
    (checkpoints.folder / "checkpoint_manager_snapshot.json").write_text('{"ray_ver')
    checkpoints.claim("second", INPUTS)
    assert names(checkpoints) == {kept.name}
    assert {path.name for path in checkpoints.folder.iterdir()} == {kept.name, "committed.json"}


def test_a_session_that_was_taken_over_commits_nothing(checkpoints):
    kept = commit(checkpoints, 1)
    checkpoints.claim("second", INPUTS)
    with pytest.raises(RuntimeError, match="another session"):
        commit(checkpoints, 2)
    assert checkpoints.commits() == [kept]


def test_a_missing_checkpoint_is_not_trained_anew(checkpoints):
    gone = commit(checkpoints, 1)
    (checkpoints.folder / gone.name).rmdir()
    with pytest.raises(InputError, match=f"{gone.name}: missing"):
        checkpoints.latest()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (INPUTS, "no checkpoint holds them"),
        ({**INPUTS, "mixture": {"rows": 4}}, "another mixture"),
        ({**INPUTS, "catalog": "abd"}, "another catalog"),
    ],
)
def test_recorded_epochs_are_never_trained_anew_in_silence(tmp_path, checkpoints, inputs, said):
    train = tmp_path / "train"
    mine = checkpoints if inputs == INPUTS else Checkpoints(train / "ray-2", kept=2)
    check_standing(train, train / "epochs.jsonl", mine, inputs)
    artifacts.write_jsonl(train / "epochs.jsonl", [{"epoch": 0}])
    with pytest.raises(InputError, match=said):
        check_standing(train, train / "epochs.jsonl", mine, inputs)
    commit(checkpoints, 1)
    check_standing(train, train / "epochs.jsonl", checkpoints, INPUTS)
