"""A training to which something happens ends with the rows, losses and weights of one to which
nothing does."""

import resource
import subprocess
import sys
import time

import pytest
import ray_nodes
from command_line import QSIT, committed

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("Training: a rank's process is killed", "RayTrainWorker"),
        ("Training: the actor that holds the epoch's plan is killed", "ShownCourse"),
        ("Training: Ray Data's coordinator of the ranks' rows is killed", "SplitCoordinator"),
        ("Training: tasks that decode rows are killed", "Map(encode)"),
    ],
)
def test_process(training, trained, note, what, name):
    training.until(training.inside(0))
    doomed = training.until(lambda: training.cluster.named(name))
    with training.harm():
        for process in doomed:
            process.kill()
    training.finish().same_as(trained)
    note(training, what)


def test_controller(training, trained, note):
    """Training: Ray Train's controller is killed; the command is given again."""
    training.until(training.inside(0))
    (controller,) = training.cluster.named("TrainController")
    with training.harm():
        controller.kill()
    if training.end() != 0:
        training.start().finish()
    training.same_as(trained)
    note(training)


def test_node_of_a_rank(training, trained, note):
    """Training: a node with a rank dies inside an epoch; a new one takes its place."""
    training.until(training.inside(0))
    node = training.cluster.nodes_with("RayTrainWorker")[0]
    with training.harm():
        training.cluster.lose(node)
    training.cluster.add(node.cpus, node.labels)
    training.finish().same_as(trained)
    note(training)


def test_fewer_ranks(training, trained, note):
    """Training with `train.min_workers`: a node with a rank dies, and none replaces it."""
    training.kill()
    training.start(min_workers=1).until(training.inside(0))
    with training.harm():
        training.cluster.lose(training.cluster.nodes_with("RayTrainWorker")[0])
    training.finish().close_to(trained)
    note(training)


def test_node_of_rows(training, trained, note):
    """Training: a node that decodes rows and holds them dies, and none replaces it."""
    training.until(training.inside(0))
    (node, *_) = training.until(lambda: training.cluster.nodes_with("Map(encode)"))
    with training.harm():
        training.cluster.lose(node)
    training.finish().same_as(trained)
    note(training)


def test_driver(training, trained, note):
    """Training: the command is killed, and given again."""
    training.until(training.inside(1))
    with training.harm():
        training.kill()
    training.start().finish().same_as(trained)
    note(training)


def test_moved(training, trained, note):
    """Training: the command is killed, and given again after the run folder was moved."""
    training.until(training.inside(0))
    with training.harm():
        training.kill()
    training.run = training.run.rename(training.run.with_name("elsewhere"))
    training.start().finish().same_as(trained)
    note(training)


def test_head(training, there, trained, note):
    """Training: the head dies with all nodes; a new cluster is given the command."""
    training.kill()
    with ray_nodes.cluster(there.own, *there.kinds) as doomed:
        training.cluster = doomed
        training.start()
        training.until(training.inside(0))
        with training.harm():
            doomed.die()
            training.kill()
    training.cluster = there
    training.start().finish().same_as(trained)
    note(training)


def test_second_command(training, trained, note):
    """Training: a second command works on the same run folder; it is refused."""
    training.until(training.inside(0))
    ranks = training.cluster.named("RayTrainWorker")
    with training.harm():
        for rank in ranks:  # they would else end before the second command has begun
            rank.suspend()
        second = subprocess.run(
            [QSIT, "train", "run", training.run],
            env=training.cluster.environment,
            capture_output=True,
            text=True,
        )
        for rank in ranks:
            rank.resume()
    assert second.returncode == 2
    assert str(training.run) in second.stderr
    training.finish().same_as(trained)
    note(training)


def test_refused_writes(training, trained, note):
    """Training: the folder of the checkpoints takes no writes until a rank has failed."""
    training.until(training.inside(0))
    (folder,) = training.run.glob("train/ray-*")
    ranks = training.cluster.named("RayTrainWorker")
    away = folder.with_name("away")
    with training.harm():
        folder.rename(away)
        folder.write_text("")
    training.until(lambda: not all(rank.is_running() for rank in ranks))
    folder.unlink()
    away.rename(folder)
    if training.end() != 0:
        training.start().finish()
    training.same_as(trained)
    note(training)


def test_full_disk(training, trained, note):
    """Training: the disk is full at a checkpoint, of which only a part is written."""
    training.until(training.inside(0))
    ranks = training.cluster.named("RayTrainWorker")
    with training.harm():
        for rank in ranks:
            # A write beyond these bytes of a file ends early with an error.
            rank.rlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    training.until(lambda: not all(rank.is_running() for rank in ranks))
    training.finish().same_as(trained)
    note(training)


def test_notice(training, trained, note):
    """Training: a notice that a rank's node is reclaimed, and then SIGTERM; a new one comes."""
    training.until(training.inside(0))
    cluster = training.cluster
    node = cluster.nodes_with("RayTrainWorker")[0]
    before = committed(training.run)
    with training.harm():
        drain(cluster, node)
    training.until(lambda: committed(training.run) > before)
    cluster.lose(node, gently=True)
    cluster.add(node.cpus, node.labels)
    training.finish().same_as(trained)
    note(training)


def test_clock(training, trained, clock, note):
    """Training: Python's clock goes back two hours everywhere; then a rank's process is killed."""
    training.until(training.inside(0))
    try:
        with training.harm():
            clock.write_text("-7200")
        look = [sys.executable, "-c", "import time; print(time.time())"]
        there = subprocess.check_output(look, env=training.cluster.environment)
        assert float(there) == pytest.approx(time.time() - 7200, abs=600)
        at = training.done()
        training.until(lambda: training.done() > at)
        training.cluster.named("RayTrainWorker")[0].kill()
        training.finish().same_as(trained)
    finally:
        clock.unlink()
    note(training)


DRAIN = """
import sys
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
address, node, deadline = sys.argv[1:]
GcsClient(address=address).drain_node(node, reason, "the spot machine is reclaimed", int(deadline))
"""


def drain(cluster, node, seconds=60):
    """Tell Ray that a node goes within `seconds`, as a cloud's notice does."""
    deadline = str(int(1000 * (time.time() + seconds)))
    subprocess.run(
        [sys.executable, "-c", DRAIN, cluster.head.address, cluster.id(node), deadline],
        env=cluster.environment,
        check=True,
    )
