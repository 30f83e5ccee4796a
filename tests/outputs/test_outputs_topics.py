"""`userns-probe explain volumes` and the other tables: for people, for machines, and from a shell."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner, Result

from probe.cli.verbs import cli
from probe.outputs.topics import TOPICS, render_topic, render_topic_json
from probe.tables.csi import CSI
from probe.tables.drivers import IN_TREE, PROVISIONERS
from probe.tables.filesystems import NEVER, SINCE
from probe.tables.servers import SERVERS


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["explain", *arguments], standalone_mode=False)


@pytest.mark.parametrize("width", [40, 100, None])
@pytest.mark.parametrize("name", TOPICS)
def test_people_can_read_it(name: str, width: int | None) -> None:
    """Every table fits every terminal but for single words, with colour and without."""
    plain = render_topic(name, "6.12", width=width, colour=False)
    assert TOPICS[name].summary.split()[0] in plain
    assert "\x1b" not in plain
    assert "\x1b" in render_topic(name, "6.12", width=width, colour=True)


@pytest.mark.parametrize("name", TOPICS)
def test_machines_can_read_it(name: str) -> None:
    """JSON, with a source in each row that has one."""
    document = json.loads(render_topic_json(name, "6.12"))
    rows = document["drivers"] + document["servers"] if name == "volumes" else document
    assert rows
    assert all(row["source"] if "source" in row else all(one["source"] for one in row["stages"]) for row in rows)


def test_every_driver_is_shown() -> None:
    """Names, their sources, all file systems and all servers are on the page and in the document."""
    page = render_topic("volumes", "6.12", width=None, colour=False)
    document = json.loads(render_topic_json("volumes", "6.12"))
    every = {**CSI, **IN_TREE, **PROVISIONERS}
    assert [row["name"] for row in document["drivers"]] == [*CSI, *IN_TREE, *PROVISIONERS]
    for name in (*every, *SINCE, *NEVER, *SERVERS, *(driver.source for driver in every.values())):
        assert name in page


@pytest.mark.parametrize(
    ("kernel", "name", "result", "shared"),
    [
        ("6.1", "secrets-store.csi.k8s.io", "refused", "refused"),
        ("6.12", "secrets-store.csi.k8s.io", "supported", "supported"),
        ("6.12", "driver.longhorn.io", "supported", "refused"),
        ("6.12", "cephfs.csi.ceph.com", "unknown", "unknown"),
    ],
)
def test_the_answer_is_of_that_kernel(kernel: str, name: str, result: str, shared: str) -> None:
    """`--for` names the kernel."""
    document = json.loads(explain("volumes", "--for", kernel, "-o", "json").stdout)
    (row,) = [row for row in document["drivers"] if row["name"] == name]
    assert (row["result"], row["shared_result"]) == (result, shared)
    assert document["kernel_release"] == kernel


@pytest.mark.parametrize(
    "arguments", [("volumes", "--for", "talos"), ("gates", "--for", "6.12"), ("volumes", "--report", "-")]
)
def test_what_does_not_fit_is_an_error(arguments: tuple[str, ...]) -> None:
    """A platform is no kernel, and only volumes differ by kernel."""
    answer = explain(*arguments)
    assert isinstance(answer.exception, click.UsageError)


def test_they_can_be_found() -> None:
    """`explain` lists them, a shell completes them, and a near miss names them."""
    listed = explain().stdout
    assert all(name in listed for name in TOPICS)
    assert "volumes" in str(explain("volume").exception)
