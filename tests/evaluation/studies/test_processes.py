import subprocess
import sys
from contextlib import contextmanager

from qsit_ray.evaluation.studies.processes import KINDS, Samples, sampled

WORK = "sum(range(3 * 10**7)); print('done', flush=True); input()"
RANK = "ray::RayTrainWorker"


@contextmanager
def worker():
    """A child with a rank's name, which has computed and waits."""
    child = subprocess.Popen(
        [RANK, "-c", WORK],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "done\n"
    yield
    child.communicate("\n")


def test_seconds_between_two_samples_are_interpolated():
    used = [{"ranks": 1.0}, {"ranks": 5.0}, {"ranks": 6.0, "x": 8.0}]
    samples = Samples([10.0, 12.0, 16.0], used)
    assert samples.between(11.0, 14.0) == {"ranks": 2.5, "x": 4.0}
    assert samples.between(10.0, 16.0) == {"ranks": 5.0, "x": 8.0}


def test_a_childs_seconds_are_of_its_kind():
    samples = Samples()
    samples.take()
    with worker():
        samples.take()
    samples.take()
    kind = KINDS["RayTrainWorker"]
    before, busy, ended = (each.get(kind, 0.0) for each in samples.used)
    assert busy > before
    assert ended == busy, "what an ended process has used stays counted"


def test_samples_are_taken_from_the_start_to_the_end():
    with sampled() as samples, worker():
        pass
    assert samples.times == sorted(samples.times)
    assert len(samples.times) == len(samples.used) > 0
