"""A search to which something happens ends with the trials of one to which nothing does."""

import pytest

pytestmark = pytest.mark.chaos


def test_trial(searching, searched, note):
    """Search: a trial's process is killed."""
    (trial, *_) = searching.until(lambda: searching.done() > 2 and searching.cluster.named("Trial"))
    with searching.harm():
        trial.kill()
    searching.finish().same_as(searched)
    note(searching)


def test_node(searching, searched, note):
    """Search: a node that runs trials dies, and none replaces it."""
    cluster = searching.cluster
    (node, *_) = searching.until(lambda: searching.done() > 2 and cluster.nodes_with("Trial"))
    with searching.harm():
        cluster.lose(node)
    searching.finish().same_as(searched)
    note(searching)


def test_driver(searching, searched, note):
    """Search: the command is killed, and given again."""
    searching.until(lambda: searching.done() > 2)
    with searching.harm():
        searching.kill()
    searching.start().finish().same_as(searched)
    note(searching)
