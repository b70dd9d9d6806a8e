"""A training that is killed, moved or spoilt: the same rows and losses, or a clear error."""

import random
import re
import shutil
import signal

import pytest
import yaml
from command_line import (
    SMALL,
    call,
    committed,
    epochs,
    kill,
    read,
    sets,
    started,
    step_lines,
    stopped,
    untimed,
    wait,
)

from qsit_ray.data.catalog import open_catalog

FINE = {
    "mix": "{scoring: 1, interpreting: 2, general: 1}",
    "data.scoring": 24,
    "search.proxy_seeds": "[0]",
    "train.training.batch_size": 8,
    "train.micro_batch": 2,
    "train.checkpoint_steps": 2,
    "train.max_failures": 5,
    "evaluate.batch_tokens": 400,  # several batches of each kind
}


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A run in which the training comes next."""
    out = tmp_path_factory.mktemp("runs") / "ready"
    settings = {**SMALL, "cache": tmp_path_factory.mktemp("cache"), **FINE}
    build = ["data", "build", out, "--preset", "demo", *sets(settings)]
    for verb in (build, ["search", "run", out]):
        done = call(*verb)
        assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def whole(ready, tmp_path_factory):
    """That run after an undisturbed training."""
    out = shutil.copytree(ready, tmp_path_factory.mktemp("runs") / "whole")
    done = call("train", "run", out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def changed(ready, out, **changes):
    """A copy of a run with other settings of its training."""
    shutil.copytree(ready, out)
    values = yaml.safe_load((out / "config.yaml").read_text())
    values["train"].update(changes)
    (out / "config.yaml").write_text(yaml.safe_dump(values))
    return out


@pytest.mark.slow
def test_a_training_killed_five_times_ends_the_same(ready, whole, tmp_path):
    """kill -9 inside epochs and between them, of workers, the course actor, the driver."""
    out = shutil.copytree(ready, tmp_path / "killed")
    chance = random.Random(11)

    def at(epoch):
        """Once a checkpoint is committed at a step of `epoch`, or later."""
        step = chance.choice((2, 4, 6))
        return lambda: committed(out) >= (epoch, step)

    def recorded(epoch):
        return lambda: committed(out) >= (epoch + 1, 0)

    with started("train", "run", out) as driver:
        wait(driver, at(0))
        kill(driver, "RayTrainWorker")
        wait(driver, recorded(0))
        kill(driver, "RayTrainWorker")
        wait(driver, at(1))
        kill(driver, "RayTrainWorker", "ShownCourse")
        wait(driver, recorded(1))
        driver.kill()
    with started("train", "run", out) as driver:
        wait(driver, at(2))
        driver.kill()
    done = call("train", "run", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert untimed(out) == untimed(whole)
    assert step_lines(out, 8) == step_lines(whole, 8)
    assert all(line["consumed"] == line["planned"] for line in epochs(out))
    weights = [r / "train" / "model" / "model.safetensors" for r in (out, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_a_validation_that_fails_costs_no_row_of_its_epoch(ready, whole, tmp_path):
    """A picture of its last batch is cut short; once it is whole, no step is trained again."""
    out = changed(ready, tmp_path / "cut", max_failures=0)
    last = open_catalog(out / "catalog").validation("scoring")[-1]
    picture = out / "catalog" / last["images"][0]["path"]
    content = picture.read_bytes()
    picture.write_bytes(content[: len(content) // 2])
    done = call("train", "run", out)
    assert done.returncode == 2 and picture.name in done.stderr
    epoch, step = committed(out)
    assert epoch == 0 and step > 0 and not (out / "train" / "epochs.jsonl").exists()
    (state,) = out.glob(f"train/ray-*/epoch_0000_step_{step:06d}_*/state.json")
    trained = read(state)["timing"]["train_seconds"]
    picture.write_bytes(content)
    done = call("train", "run", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert untimed(out) == untimed(whole)
    assert epochs(out)[0]["timing"]["train_seconds"] == trained


@pytest.mark.slow
def test_a_training_resumes_with_fewer_workers(ready, whole, tmp_path):
    out = shutil.copytree(ready, tmp_path / "fewer")
    with started("train", "run", out) as driver:
        wait(driver, lambda: committed(out) >= (1, 2))
    done = call("train", "run", out, "--workers", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    for one, other in zip(epochs(out), epochs(whole), strict=True):
        assert one["consumed"] == one["planned"] == other["planned"]
        assert one["sizes"] == other["sizes"]
        for loss in ("loss_scoring", "loss_interpreting"):
            assert one[loss] == pytest.approx(other[loss], rel=1e-3)


@pytest.mark.slow
def test_a_half_written_list_of_rays_checkpoints_does_no_harm(ready, whole, tmp_path):
    """Ray writes its list of checkpoints late and in place: a kill can leave none or half of it."""
    out = shutil.copytree(ready, tmp_path / "torn")
    with started("train", "run", out) as driver:
        wait(driver, lambda: committed(out) >= (1, 2))
    (folder,) = out.glob("train/ray-*")
    (folder / "checkpoint_manager_snapshot.json").write_text('{"ray_version": "2.6')
    done = call("train", "run", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert untimed(out) == untimed(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "step"), [("stop", 0), ("rollback", 1)])
def test_a_bad_loss_ends_the_training_and_names_the_rows(ready, tmp_path, policy, step):
    """No loss is under this limit; going back is allowed once an epoch."""
    out = changed(ready, tmp_path / "bad", loss_limit=1e-6, on_bad_loss=policy, max_failures=1)
    done = call("train", "run", out)
    assert done.returncode == 1
    assert re.search(rf"epoch 0, step {step}: the loss is [0-9.]+; rows \d+ \(\w+", done.stderr)
    skipped = list(out.glob("train/ray-*/skipped.json"))
    assert len(skipped) == step
    assert [batch["step"] for file in skipped for batch in read(file)] == list(range(step))


@pytest.mark.slow
def test_a_row_whose_image_is_gone_is_named(ready, tmp_path):
    """The rehearsal needs it, and refuses; the workers are not started for it again and again."""
    out = shutil.copytree(ready, tmp_path / "gone")
    for image in (out / "catalog" / "images").iterdir():
        image.unlink()
    done = call("train", "run", out)
    assert done.returncode == 2
    assert re.search(r"catalog/images/\S+: image file is missing", done.stderr)


@pytest.mark.slow
def test_evaluation_and_report_run_as_single_stages(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "alone")
    for verb in (["evaluate", "run"], ["report"]):
        done = call(*verb, out)
        assert done.returncode == 0, done.stdout + done.stderr
    assert read(out / "evaluation" / "iqa.json")["primary"]["demo"]["rows"] == 24
    assert "D1" in (out / "report.html").read_text()


@pytest.mark.slow
def test_epochs_are_added_to_a_training_with_a_constant_rate(ready, tmp_path):
    """Two epochs, then a third: the same as three at once."""
    runs = [shutil.copytree(ready, tmp_path / name) for name in ("prolonged", "at_once")]
    settings = ["--set", "train.schedule=constant", "--set"]
    for run, epoch_counts in zip(runs, ((2, 3), (3,)), strict=True):
        for count in epoch_counts:
            done = call("train", "run", run, *settings, f"train.epochs={count}")
            assert done.returncode == 0, done.stdout + done.stderr
    assert untimed(runs[0]) == untimed(runs[1])
    weights = [run / "train" / "model" / "model.safetensors" for run in runs]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_commits_no_stage(ready, tmp_path):
    stopped(shutil.copytree(ready, tmp_path / "stopped"), (0, 2), signal.SIGINT, 130)
