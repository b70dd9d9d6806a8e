import subprocess
import sys

from qsit_ray.evaluation.studies.processes import KINDS, Samples, cpu_seconds, sampled

WORK = "sum(range(3 * 10**7)); print('done', flush=True); input()"


def test_seconds_between_two_samples_are_interpolated():
    samples = Samples(
        [10.0, 12.0, 16.0], [{"ranks": 1.0}, {"ranks": 5.0}, {"ranks": 6.0, "x": 8.0}]
    )
    assert samples.between(11.0, 14.0) == {"ranks": 2.5, "x": 4.0}
    assert samples.between(10.0, 16.0) == {"ranks": 5.0, "x": 8.0}


def test_a_childs_seconds_are_counted_by_its_name():
    rank = "ray::RayTrainWorker"
    before = cpu_seconds()
    with (
        sampled() as samples,
        subprocess.Popen(
            [rank, "-c", WORK],
            executable=sys.executable,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
        after = cpu_seconds()
        child.communicate("\n")
    assert after[KINDS["RayTrainWorker"]] > before.get("ranks", 0.0)
    assert samples.times == sorted(samples.times)
