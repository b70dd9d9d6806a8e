"""pure: what each kind of work asks of Ray: resources, and the nodes that it may run on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from qsit_ray.config.config import Config
from qsit_ray.config.search import Search
from qsit_ray.config.train import Train
from qsit_ray.errors import InputError

DATA_CPUS = 2
"""CPUs besides those of the ranks, without which Ray Data's tasks would never start."""


@dataclass(frozen=True)
class Request:
    """Bundles of equal resources that Ray gives together or not at all."""

    what: str
    settings: Mapping[str, str]
    """For each resource the setting that it follows from."""
    resources: Mapping[str, float]
    """CPUs and GPUs of one bundle, which one process holds."""
    labels: Mapping[str, str]
    """Node labels that a cluster's node must have, as Ray selects by them."""
    bundles: int = 1
    one_node: bool = False
    spare_cpus: int = 0
    """CPUs that its tasks need beside it."""
    least: int | None = None
    """Bundles that suffice; None: no fewer than all."""
    nodes: str = ""
    """The setting of its labels."""

    @property
    def enough(self) -> int:
        """Bundles without which it waits."""
        return self.bundles if self.least is None else self.least

    @property
    def strategy(self) -> str:
        """Ray's name for the placement of the bundles."""
        return "STRICT_PACK" if self.one_node else "PACK"

    @property
    def needs(self) -> str:
        """One bundle in words: `4 CPU, 1 GPU, qsit=proxy`."""
        resources = [f"{n:g} {name}" for name, n in self.resources.items()]
        return ", ".join([*resources, *(f"{name}={text}" for name, text in self.labels.items())])

    @property
    def asks(self) -> str:
        """All bundles in words: `8 × (1 GPU, qsit=primary) on one node`."""
        number = f"{self.bundles} × " if self.bundles > 1 else ""
        if self.enough < self.bundles:
            number = f"{self.enough} to {number}"
        together = " on one node" if self.bundles > 1 and self.one_node else ""
        beside = self.spare_cpus and "CPU" in self.resources
        tasks = f" and {self.spare_cpus} CPU for the data" if beside else ""
        return f"{number}({self.needs}){together}{tasks}"

    def fits(self, resources: Mapping[str, float], labels: Mapping[str, str]) -> int:
        """Bundles that a node of these resources and labels holds."""
        if not _selects(self.labels, labels):
            return 0
        return int(min(resources.get(name, 0.0) / n for name, n in self.resources.items()))

    def total(self, resource: str) -> float:
        return self.bundles * self.resources.get(resource, 0.0)

    def needed(self, resource: str) -> float:
        """Of the bundles that suffice."""
        return self.enough * self.resources.get(resource, 0.0)

    def lacks(self, there: Mapping[str, float]) -> str | None:
        """The first resource of which the bundles that suffice ask for more than is `there`."""
        names = (name for name in self.settings if self.needed(name) > there.get(name, 0.0))
        return next(names, None)


def _selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether Ray takes a node with these labels: each has one of the values, or under ! none."""
    for label, text in selector.items():
        inside = text.removeprefix("!").removeprefix("in(").removesuffix(")")
        values = [value.strip() for value in inside.split(",")]
        if (labels.get(label) in values) == text.startswith("!"):
            return False
    return True


@dataclass(frozen=True)
class Node:
    """A node of a cluster: the resources that it has, its labels, and what is free there now."""

    resources: Mapping[str, float]
    labels: Mapping[str, str]
    free: Mapping[str, float]


def places(request: Request, nodes: Mapping[str, Node], held: Mapping[str, int]) -> int:
    """Bundles of `request`, all of them at most, that the `nodes` have place for.

    `nodes`: by id. `held`: the bundles that each holds already. CPUs for its tasks stay free.
    """
    found = 0
    for name, node in nodes.items():
        whole = request.fits(node.resources, node.labels)
        found += min(whole, request.fits(node.free, node.labels) + held.get(name, 0))
    if cpus := request.resources.get("CPU"):
        every = sum(node.resources.get("CPU", 0.0) for node in nodes.values())
        found = min(found, int((every - request.spare_cpus) / cpus))
    return max(0, min(found, request.bundles))


@dataclass
class Settling:
    """For how long there have been enough places, and no more than at its beginning have come."""

    most: int = 0
    since: float = 0.0

    def seconds(self, found: int, enough: int, now: float) -> float | None:
        """None while there are not enough. `now`: seconds of any clock that only goes on."""
        if found < enough:
            self.most = 0
            return None
        if found > self.most:
            self.most, self.since = found, now
        return now - self.since


def trial(search: Search) -> Request:
    """One trial of the proxy search."""
    resources = {"CPU": search.cpus_per_trial}
    if search.gpus_per_trial:
        resources["GPU"] = search.gpus_per_trial
    settings = {"CPU": "search.cpus_per_trial", "GPU": "search.gpus_per_trial"}
    return Request("a trial", settings, resources, search.nodes, nodes="search.nodes")


def ranks(train: Train, workers: int) -> Request:
    """The ranks of the primary's training, `workers` at most."""
    settings = {"CPU": "train.workers", "GPU": "train.workers with train.use_gpu"}
    resources = {"GPU": 1.0} if train.use_gpu else {"CPU": 1.0}
    least = train.least(workers)
    return Request(
        "the training",
        settings,
        resources,
        train.nodes,
        workers,
        train.one_node,
        DATA_CPUS,
        least if least < workers else None,
        "train.nodes",
    )


def prediction(config: Config) -> Request:
    """The predictions of one model in the evaluation, on the primary's kind of node."""
    train, resources = config.train, {"CPU": float(config.evaluate.cpus)}
    if train.use_gpu:
        resources["GPU"] = 1.0
    settings = {"CPU": "evaluate.cpus", "GPU": "train.use_gpu"}
    return Request("the evaluation", settings, resources, train.nodes, nodes="train.nodes")


def cpu_task(train: Train) -> Request:
    """A task that holds no GPU: encoding, or the conversion of a checkpoint."""
    return Request("a task", {}, {"CPU": 1.0}, train.cpu_nodes, nodes="train.cpu_nodes")


def of_run(config: Config, cluster: bool = False) -> list[Request]:
    """What the stages of a whole run ask for; a rehearsal for its ranks on a `cluster` alone, and
    for all of them."""
    asked = [trial(config.search)] if config.has_proxies else []
    training = ranks(config.train, config.train.workers)
    if config.search.rehearsal is None:
        return [*asked, training, prediction(config), cpu_task(config.train)]
    return [*asked, replace(training, spare_cpus=0, least=None)] if cluster else asked


def check(requests: Iterable[Request], there: Mapping[str, float]) -> None:
    """Raises InputError for a request of more than is `there`: it would wait for ever."""
    for request in requests:
        if resource := request.lacks(there):
            asked, have = request.needed(resource), there.get(resource, 0.0)
            raise InputError(
                f"{request.settings[resource]}: {request.what} asks for {asked:g} {resource}, "
                f"and {have:g} {'is' if have == 1 else 'are'} there"
            )
        needed, have = request.needed("CPU") + request.spare_cpus, there.get("CPU", 0.0)
        if needed > have:
            raise InputError(
                f"train.workers: {request.what} and Ray Data's tasks need {needed:g} CPUs, and "
                f"{have:g} {'is' if have == 1 else 'are'} there"
            )


def check_labels(requests: Iterable[Request], nodes: Iterable[Mapping[str, str]]) -> None:
    """Raises InputError for a request with a label that none of the `nodes`' labels are of, with
    whatever value: the cluster was started without these labels."""
    known = {name for labels in nodes for name in labels}
    asked = [
        (request, name, text)
        for request in requests
        for name, text in request.labels.items()
        if request.nodes and name not in known and not text.startswith("!")
    ]
    if asked:
        request, name, text = asked[0]
        any_node = " ".join(dict.fromkeys(f"--set {each.nodes}={{}}" for each, _, _ in asked))
        raise InputError(
            f"{request.nodes}: {request.what} asks for a node with the label {name}={text}, and no "
            f"node of this cluster has a label {name}; start nodes with it (ray start --labels), "
            f"or take any node: {any_node}"
        )
