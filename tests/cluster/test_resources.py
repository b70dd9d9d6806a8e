"""What a job waits for, as a real head tells it: placement groups, actors and tasks."""

import json
import os
import subprocess
import sys

import pytest

from qsit_ray.evaluation.studies.own_head import own_head

PROGRAM = """
import json, sys, time
import ray
from dataclasses import asdict
from ray.util.placement_group import placement_group
from qsit_ray.placement import Request
from qsit_ray.resources import look

ray.init(log_to_driver=False, logging_level="ERROR")

RANKS = Request("the training", {}, {"GPU": 1.0}, {"qsit": "primary"}, 2, True)

ELASTIC = Request("elastic ranks", {}, {"GPU": 1.0}, {"qsit": "spot"}, 4, False, 0, 2)

@ray.remote(num_cpus=0)
class TrainController:
    def ready(self):
        return True

@ray.remote(num_cpus=0.5)
class Actor:
    def ready(self):
        return True

@ray.remote
def task():
    time.sleep(600)

def settled(count):
    # Ray tells of what waits within seconds.
    until = time.monotonic() + 60
    while time.monotonic() < until:
        demands, resources = look([RANKS, ELASTIC])
        if len(demands) == count:
            break
        time.sleep(0.5)
    assert len(demands) == count, demands
    return [asdict(each) for each in demands], asdict(resources)

running = Actor.remote()
ray.get(running.ready.remote())
labels = [{"qsit": "primary"}] * 2
ranks = placement_group([{"GPU": 1.0}] * 2, strategy="STRICT_PACK", bundle_label_selector=labels)
held = placement_group([{"CPU": 0.25}])
ray.get(held.ready())
waiting = Actor.options(num_cpus=7).remote()
lost = task.options(num_cpus=3, label_selector={"qsit": "cpu"}).remote()
told = settled(5)
controller = TrainController.remote()
ray.get(controller.ready.remote())
before, _ = settled(6)
ray.kill(controller)
labels = [{"qsit": "spot"}] * 3
some = placement_group([{"GPU": 1.0}] * 3, bundle_label_selector=labels)
settled(6)
print(json.dumps([*told, before, settled(6)[0]]))
"""


@pytest.fixture(scope="module")
def told():
    with own_head(cpus=2) as head:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, **head.environment, "RAY_ADDRESS": head.address},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_ranks_wait_by_their_name_with_their_labels(told):
    (ranks,) = (each for each in told[0] if each["what"] == "the training")
    assert (ranks["waiting"], ranks["held"], ranks["fitting"]) == (1, 0, 0)
    assert ranks["asks"] == "2 × (1 GPU, qsit=primary) on one node"


def test_ranks_whose_number_may_change_wait_before_ray_train_asks_for_them(told):
    for demands in told[2:]:
        (ranks,) = (each for each in demands if each["what"] == "elastic ranks")
        assert (ranks["waiting"], ranks["held"]) == (1, 0)
        assert ranks["asks"] == "2 to 4 × (1 GPU, qsit=spot)"


def test_tasks_wait_where_none_runs(told):
    (tasks,) = (each for each in told[0] if each["what"] == "tasks")
    assert (tasks["waiting"], tasks["held"]) == (1, 0)
    assert tasks["asks"] == "(3 CPU, qsit=cpu)"


def test_what_has_its_resources_is_not_starved(told):
    demands, resources = told[:2]
    others = {each["asks"]: each for each in demands if each["what"] == "work"}
    states = {asks: (each["waiting"], each["held"]) for asks, each in others.items()}
    assert states == {"(0.25 CPU)": (0, 1), "(0.5 CPU)": (0, 1), "(7 CPU)": (1, 0)}
    assert (others["(0.5 CPU)"]["fitting"], others["(7 CPU)"]["fitting"]) == (1, 0)
    assert not resources["autoscaler"]
    assert resources["nodes"] == 1
    assert resources["free"]["CPU"] == [1.25, 2.0]
    assert resources["free"]["GPU"] == [0.0, 0.0]
