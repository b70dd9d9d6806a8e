"""What work asks of Ray: refused on a machine that can never give it, in Ray's own syntax."""

import json
import socket
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray._private.label_utils import validate_label_selector

from qsit_ray import placement
from qsit_ray.config.files import override
from qsit_ray.config.presets import demo, paper, rehearsal
from qsit_ray.errors import InputError
from qsit_ray.session import session

LAPTOP, STATION = {"CPU": 4.0}, {"CPU": 96.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("preset", "assignment", "there", "words"),
    [
        (demo, "search.gpus_per_trial=1", LAPTOP, "search.gpus_per_trial: a trial asks for 1 GPU"),
        (demo, "search.gpus_per_trial=0.5", LAPTOP, "0.5 GPU, and 0 are there"),
        (demo, "search.cpus_per_trial=64", LAPTOP, "64 CPU, and 4 are there"),
        (paper, "train.workers=8", {"CPU": 96.0, "GPU": 4.0}, "asks for 8 GPU, and 4 are there"),
        (paper, "search.gpus_per_trial=0", LAPTOP, "train.workers with train.use_gpu: the train"),
        (paper, "search.gpus_per_trial=9", STATION, "a trial asks for 9 GPU"),
    ],
)
def test_what_a_machine_can_never_give_is_refused_by_its_setting(preset, assignment, there, words):
    requests = placement.of_run(override(preset(), [assignment]))
    with pytest.raises(InputError, match=words):
        placement.check(requests, there)


@pytest.mark.parametrize(
    ("preset", "there"), [(demo, LAPTOP), (paper, STATION), (rehearsal, {"CPU": 4.0, "GPU": 1.0})]
)
def test_what_is_there_is_enough(preset, there):
    placement.check(placement.of_run(preset()), there)


def test_the_evaluation_asks_for_a_gpu_too():
    with pytest.raises(InputError, match=r"^train.use_gpu: the evaluation asks for 1 GPU"):
        placement.check([placement.prediction(paper())], LAPTOP)


def test_a_mix_that_needs_no_proxy_asks_for_no_trial():
    requests = placement.of_run(
        override(
            demo(),
            [
                "search.gpus_per_trial=1",
                "mix={scoring: 1, interpreting: 1, general: 1}",
                "train.controller=null",
            ],
        )
    )
    placement.check(requests, LAPTOP)


def test_a_session_of_this_machine_refuses_instead_of_waiting_for_ever(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    asked = placement.trial(override(demo(), ["search.cpus_per_trial=4000"]).search)
    with (
        pytest.raises(InputError, match=r"^search.cpus_per_trial: a trial asks for 4000 CPU"),
        session(2, requests=[asked]),
    ):
        pytest.fail("the session began")


@pytest.mark.parametrize(
    ("nodes", "labels", "fit"),
    [
        ("{}", {}, 4),
        ("{qsit: proxy}", {"qsit": "proxy"}, 4),
        ("{qsit: proxy}", {"qsit": "primary"}, 0),
        ("{qsit: proxy}", {}, 0),
        ("{qsit: '!proxy'}", {}, 4),
        ("{qsit: '!proxy'}", {"qsit": "proxy"}, 0),
        ("{qsit: 'in(cpu, proxy)'}", {"qsit": "proxy"}, 4),
        ("{qsit: '!in(cpu,proxy)'}", {"qsit": "proxy"}, 0),
        ("{qsit: proxy, zone: a}", {"qsit": "proxy", "zone": "b"}, 0),
    ],
)
def test_trials_fit_on_nodes_that_the_labels_select(nodes, labels, fit):
    settings = [f"search.nodes={nodes}", "search.cpus_per_trial=2", "search.gpus_per_trial=0.5"]
    request = placement.trial(override(paper(), settings).search)
    assert request.fits({"CPU": 8.0, "GPU": 4.0}, labels) == fit
    assert request.fits({"CPU": 8.0}, labels) == 0


ELASTIC = ["train.workers=8", "train.min_workers=2", "train.one_node=false"]


def test_ranks_whose_number_may_change_need_the_fewest_of_them():
    request = placement.ranks(override(paper(), ELASTIC).train, 8)
    assert request.asks == "2 to 8 × (1 GPU, qsit=primary)"
    placement.check([request], {"CPU": 16.0, "GPU": 2.0})
    with pytest.raises(InputError, match="the training asks for 2 GPU, and 1 is there"):
        placement.check([request], {"CPU": 16.0, "GPU": 1.0})


def test_a_rehearsal_asks_for_all_ranks():
    requests = placement.of_run(override(rehearsal(), ELASTIC), cluster=True)
    assert requests[-1].enough == requests[-1].bundles == 8


NODES = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(
        lambda gpus, free, label: placement.Node(
            {"CPU": 8.0, "GPU": gpus}, {"qsit": label}, {"CPU": 8.0, "GPU": min(free, gpus)}
        ),
        st.integers(0, 4).map(float),
        st.integers(0, 4).map(float),
        st.sampled_from(["primary", "proxy"]),
    ),
)


@given(NODES, st.dictionaries(st.sampled_from("abcd"), st.integers(0, 4)))
def test_places_are_those_of_nodes_with_the_label(nodes, held):
    request = placement.ranks(override(paper(), ELASTIC).train, 8)
    primary = {name: node for name, node in nodes.items() if node.labels["qsit"] == "primary"}
    every = min(8, sum(node.resources["GPU"] for node in primary.values()))
    free = placement.places(request, nodes, {})
    assert free == min(8, sum(node.free["GPU"] for node in primary.values()))
    assert free <= placement.places(request, nodes, held) <= every


def test_ranks_on_cpus_leave_those_that_the_data_need():
    train = override(demo(), ["train.workers=8", *ELASTIC[1:]]).train
    node = placement.Node({"CPU": 4.0}, {}, {"CPU": 4.0})
    assert placement.places(placement.ranks(train, 8), {"a": node}, {}) == 2
    assert placement.places(placement.ranks(train, 8), {"a": node, "b": node}, {}) == 6


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40))
def test_places_have_lasted_since_the_last_time_that_there_were_more(founds):
    """Another number each second, of which 2 are enough."""
    settling = placement.Settling()
    lasted = [settling.seconds(found, 2, float(now)) for now, found in enumerate(founds)]
    enough = list(takewhile(lambda found: found >= 2, reversed(founds)))[::-1]
    expected = len(enough) - 1 - enough.index(max(enough)) if enough else None
    assert lasted[-1] == expected


def taken(label, value):
    try:
        override(demo(), [f"search.nodes={json.dumps({label: value})}"])
    except InputError:
        return False
    return True


NAME = st.text("aZ0._-", max_size=5)
SEVERAL = st.builds("{}in({}{})".format, st.sampled_from(["", "!", "not"]), NAME, NAME)
LABEL = st.one_of(NAME, st.builds("{}/{}".format, NAME, NAME))


@settings(deadline=None)
@given(LABEL, st.one_of(NAME, st.builds("!{}".format, NAME), SEVERAL))
def test_labels_that_are_taken_are_valid_in_ray(label, value):
    assert not taken(label, value) or validate_label_selector({label: value}) is None


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("ray.io/accelerator-type", "A100-80G"),
        ("qsit", "in(cpu, primary)"),
        ("qsit", "!in(proxy,primary)"),
        ("topology.kubernetes.io/zone", "!us-west-2a"),
        ("a", "a" * 63),
    ],
)
def test_rays_forms_of_a_selector_are_taken(label, value):
    assert taken(label, value)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("search.nodes={qsit: [a]}", "search.nodes.qsit"),
        ("train.nodes={qsit: in(a}", r"train.nodes: qsit: expected a value, !value, in\(a, b\)"),
        ("train.cpu_nodes={a label: b}", "train.cpu_nodes: 'a label' is not the name"),
    ],
)
def test_other_labels_are_refused_by_the_settings_name(assignment, words):
    with pytest.raises(InputError, match=words):
        override(demo(), [assignment])


def test_a_head_that_is_not_there_is_refused_at_once(monkeypatch):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # held, and nobody listens
        address = f"127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        words = f"RAY_ADDRESS={address}: no Ray head answers there: Connection refused"
        with pytest.raises(InputError, match=words), session(processes=1):
            pass


def test_ranks_that_leave_no_cpu_for_data_are_refused():
    config = override(demo(), ["train.workers=2"])
    placement.check(placement.of_run(config), {"CPU": 4.0})
    with pytest.raises(InputError, match=r"train\.workers: .* need 4 CPUs, and 3 are there"):
        placement.check(placement.of_run(config), {"CPU": 3.0})


HEAD, PROXY = {"ray.io/node-id": "1"}, {"qsit": "proxy"}


def test_a_cluster_that_was_started_without_the_labels_is_told_what_to_set():
    requests = placement.of_run(rehearsal(), cluster=True)
    with pytest.raises(InputError) as raised:
        placement.check_labels(requests, [HEAD, HEAD])
    assert str(raised.value) == (
        "search.nodes: a trial asks for a node with the label qsit=proxy, and no node of this "
        "cluster has a label qsit; start nodes with it (ray start --labels), or take any node: "
        "--set search.nodes={} --set train.nodes={}"
    )
    chosen = override(rehearsal(), ["search.nodes={}", "train.nodes={}"])
    placement.check_labels(placement.of_run(chosen, cluster=True), [HEAD, HEAD])


def test_a_label_of_the_tasks_that_no_node_has_is_refused_too():
    chosen = override(demo(), ["train.cpu_nodes={kind: cpu}"])
    with pytest.raises(InputError, match=r"train\.cpu_nodes: a task asks .* kind=cpu"):
        placement.check_labels(placement.of_run(chosen), [HEAD])


def test_a_node_that_was_lost_or_is_not_there_yet_is_waited_for():
    """Nodes of the other kind show that the cluster has these labels."""
    placement.check_labels(placement.of_run(rehearsal(), cluster=True), [HEAD, PROXY])


def test_nodes_without_a_label_are_enough_where_a_value_is_excluded():
    chosen = override(rehearsal(), ["search.nodes={zone: '!a'}", "train.nodes={}"])
    placement.check_labels(placement.of_run(chosen, cluster=True), [HEAD])
