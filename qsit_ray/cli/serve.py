"""rim: the verb that serves a model over HTTP."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import threading
from contextlib import closing
from typing import Annotated

import typer

from qsit_ray.cli.rating import Gpus, Model, Precision, Profile, folder_of
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal

NAME = "qsit"
"""Of the application, among those of a cluster."""


def serve(
    model: Model,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = 8000,
    replicas: Annotated[int, typer.Option(min=1, help="Copies of the model.")] = 1,
    gpus: Gpus = None,
    profile: Profile = None,
    precision: Precision = None,
    megabytes: Annotated[int, typer.Option(min=1, help="Of a request at most.")] = 32,
    megapixels: Annotated[int, typer.Option(min=1, help="Of an image at most.")] = 50,
    images: Annotated[int, typer.Option(min=1, max=1_000, help="Of a request at most.")] = 64,
) -> None:
    """Serve a model over HTTP, with a web page, until Ctrl-C.

    The environment variable QSIT_SERVICE_TOKEN sets a token that requests must then carry. With
    RAY_ADDRESS the replicas run on that cluster, and its head listens.
    """
    from qsit_ray.models import profiles
    from qsit_ray.models.hub import folder_of as downloaded
    from qsit_ray.models.weights import check_weights, read_config
    from qsit_ray.session import cores, on_cluster, session

    _check_address(host, port)  # before a model is fetched
    # Before Ray Serve tries again and again; by the model's name, since the Hub may be asked.
    profiles.chosen(profile, folder_of(model))
    folder = downloaded(folder_of(model)).absolute()
    check_weights(folder, read_config(folder))
    terminal = Terminal()
    with session(replicas) as dashboard:
        import ray
        from ray import serve

        from qsit_ray.service.deployment import Service, build

        there = ray.cluster_resources().get("GPU", 0.0)
        each = int(there > 0) if gpus is None else gpus
        if not on_cluster() and replicas * each > there:
            raise InputError(f"--replicas {replicas}: this machine has {there:g} GPUs")
        service = Service(
            model=str(folder),
            profile=profile,
            precision=precision,
            replicas=replicas,
            cpus=1 if on_cluster() else max(1, cores() // replicas),
            gpus=each,
            megabytes=megabytes,
            megapixels=megapixels,
            images=images,
        )
        terminal.say(f"Loading {folder} ...")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        if on_cluster():
            _check_serve(host, port)
        serve.start(http_options={"host": host, "port": port, "location": "HeadOnly"})
        try:
            serve.run(build(service), name=NAME, route_prefix="/")
            terminal.say(f"page: http://{host}:{port}/")
            terminal.say(f"dashboard: http://{dashboard}/, metrics: {_metrics()}")
            threading.Event().wait()
        finally:
            # Not `serve.shutdown()`: a cluster may serve others, and a session of one's own ends
            # Serve, without Ray's line on stdout about a task that will be retried.
            serve.delete(NAME)


def _check_address(host: str, port: int) -> None:
    """Raises InputError where nothing can listen, for which Serve would try for a minute, and for
    an address that others reach without a token."""
    from qsit_ray.service.limits import TOKEN
    from qsit_ray.session import on_cluster

    if os.environ.get(TOKEN) == "":
        raise InputError(f"{TOKEN} is set and empty; set a token, or unset it")
    if TOKEN not in os.environ and not _is_loopback(host):
        raise InputError(
            f"{host}: others can reach it; set a token as {TOKEN}, or keep to 127.0.0.1"
        )
    if on_cluster():  # whose head listens
        return
    try:
        with closing(socket.create_server((host, port))):
            pass
    except OSError as error:
        raise InputError(f"{host}:{port}: can't listen there: {error.strerror}") from None


def _check_serve(host: str, port: int) -> None:
    """Raises InputError where the cluster serves this application, which would be replaced, or
    listens at another address, which would stay."""
    from ray import serve
    from ray.serve.context import _get_global_client  # no public way tells the address

    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return
    if NAME in serve.status().applications:
        raise InputError(f"RAY_ADDRESS: the cluster serves an application {NAME}; end that first")
    there = client.http_config
    if (there.host, there.port) != (host, port):
        raise InputError(
            f"RAY_ADDRESS: Ray Serve listens at {there.host}:{there.port} there; give "
            f"--host {there.host} --port {there.port}"
        )


def _is_loopback(host: str) -> bool:
    try:
        return all(
            ipaddress.ip_address(found[4][0]).is_loopback
            for found in socket.getaddrinfo(host, None)
        )
    except OSError:
        return False


def _metrics() -> str:
    """Where Ray of this node gives its metrics to Prometheus."""
    import ray

    node = ray.nodes()[0]
    return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
