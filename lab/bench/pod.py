"""The two containers of daemonset.yaml as the kernel accounts them, beside what the manifest lets them have."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.bench.agent import DAY, HEADERS, PROBES_A_DAY, SCRAPES_A_DAY, SETTLED, exporting, get
from lab.bench.processes import cpu, memory
from lab.bench.table import Row, mib, ms
from lab.bench.volumes import bind_volumes, unmount_volumes
from lab.deploy import image
from lab.deploy.load import Group, probe_again, scrape
from lab.deploy.manifests import MANIFEST, container_of, documents, pod_of
from lab.deploy.pod import NODE_NAME, Container, Pod, run_pod
from lab.deploy.pod_to_oci import quantity
from lab.real import packages
from lab.real.node import make_node, make_workspace
from lab.serve.api_double import ApiDouble
from lab.serve.serving import wait_for
from probe.publish.schedule import REFRESH, Pace
from probe.watch.pace import LOOK

FEW = 50
"""Mounts of an ordinary node, of which the CPU of a day counts."""
SCRAPES = 10_000
RIVAL_SCRAPES = 500
PERIODS = 20
"""Scrapes of each, as far from each other as in a day: in five minutes the report is confirmed once."""
_BETWEEN = 7  # seconds from a scrape to a probe of the kubelet
PROBES = ("livenessProbe", "readinessProbe")
KINDS = ("read", "write")
READS_A_DAY = round(DAY / Pace().look_at_rest)
"""While the kubelet is the same process."""
WRITES_A_DAY = round(DAY / REFRESH)
REQUESTS = 20
# As many requests as its argument says, each with a connection of its own; those that write what the publisher wrote.
_REQUEST = """
import os, sys
from probe.publish.api.interface import Access
from probe.publish.api.requester import Requester
requester, name = Requester(Access()), os.environ["NODE_NAME"]
with requester.connect() as api:
    written = api.get_node(name)["metadata"]["annotations"]
ours = {key: value for key, value in written.items() if key.startswith("userns-probe.io/")}
for _ in range(int(sys.argv[2])):
    with requester.connect() as api:
        if sys.argv[1] == "write":
            api.apply_metadata(name, {"annotations": ours}, force=True)
        else:
            api.get_node(name)
requester.end()
"""


def measure(probes: int, many: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures, in seconds and bytes."""
    runc = packages.runtime("runc", (1, 2))
    spec = pod_of(documents(MANIFEST.read_text()))
    with ExitStack() as stack:
        say("the image")
        built = image.build()
        node = stack.enter_context(make_node(stack.enter_context(make_workspace())))
        node.endpoint = stack.enter_context(node.containerd(packages.containerd(), {"runc": runc.path}))
        stack.enter_context(node.kubelet())
        api = ApiDouble(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        api.store.own_node = NODE_NAME
        api.add_node(NODE_NAME)
        bind_volumes(node, FEW)
        pod = stack.enter_context(run_pod(spec, built, node, runc, api))
        groups = {name: Group(container) for name, container in pod.containers.items()}
        pod.report()
        at: dict[int, float] = {}
        for mounts in (FEW, many):
            say(f"{probes} probes with {mounts} mounts")
            bind_volumes(node, mounts)
            began = groups["probe"].cpu
            probe_again(pod, probes)
            at[mounts] = (groups["probe"].cpu - began) / probes
        done = pod.containers["probe"].execute("userns-probe", "--volume-paths", "-o", "json")  # for the peak
        assert done.returncode in (0, 1, 2), done.stderr
        unmount_volumes(node)
        probe_again(pod, 1)
        began = groups["probe"].cpu
        time.sleep(SETTLED)
        first_looks = groups["probe"].cpu - began
        say(f"{SCRAPES} scrapes")
        began = groups["exporter"].cpu
        assert scrape(pod, SCRAPES) == SCRAPES
        wait_for(lambda: api.store.writes)
        work = {"probe": at[FEW], "exporter": (groups["exporter"].cpu - began) / SCRAPES}
        requests = {kind: _cpu_of_request(kind, pod.containers["exporter"], groups["exporter"]) for kind in KINDS}
        rival = _scrape_both(pod, groups, say)
        return {
            name: {
                "work": work[name],
                "rate": rival[name],
                "pss": sum(memory(process)["pss"] for process in pod.containers[name].processes),
                "held": group.held,
                "peak": group.peak,
                "asked": _probes_a_day(container_of(spec, name)),
                "request": quantity(container_of(spec, name)["resources"]["requests"]["memory"]),
                "limit": group.limit,
            }
            for name, group in groups.items()
        } | {
            "mounts": many,
            "probe with many": at[many],
            "first looks": first_looks,
            "requests": requests,
            "node_exporter": rival,
        }


def _cpu_of_request(kind: str, exporter: Container, group: Group) -> float:
    """CPU of one more `read` or `write`, by the code and in the container of the publisher."""
    took = []
    for times in (1, 1 + REQUESTS):
        began = group.cpu
        done = exporter.execute("python3", "-P", "-c", _REQUEST, kind, str(times))
        assert done.returncode == 0, done.stderr
        took.append(group.cpu - began)
    return (took[1] - took[0]) / REQUESTS


def _scrape_both(pod: Pod, groups: dict[str, Group], say: Callable[[str], None]) -> dict[str, float]:
    """CPU in a second of each container and of the only node_exporter, all scraped as in a day; and its memory.

    In a loop a scrape finds the caches of the processor filled by the last one, and takes three quarters of the CPU, or
    a third.
    """
    say(f"{PERIODS} scrapes in {PERIODS * DAY / SCRAPES_A_DAY:g} s, of node_exporter, too")
    with exporting(packages.runtime("prometheus-node-exporter").path) as (pid, port):
        for _ in range(RIVAL_SCRAPES):  # as many as it takes until it holds the memory of a day
            get(port, HEADERS)
        pod.get("/metrics")
        kubelet, began = 0.0, time.monotonic()
        before = {name: group.cpu for name, group in groups.items()} | {"cpu": cpu(pid)}
        for _ in range(PERIODS):
            time.sleep(_BETWEEN)
            kubelet += _cpu_of_kubelets_probe(pod, groups["exporter"])
            time.sleep(DAY / SCRAPES_A_DAY - _BETWEEN)
            get(port, HEADERS)
            assert pod.get("/metrics")[0] == 200
        after = {name: group.cpu for name, group in groups.items()} | {"cpu": cpu(pid)}
        after["exporter"] -= kubelet
        seconds = time.monotonic() - began
        rates = {name: (after[name] - before[name]) / seconds for name in before}
        return rates | {"kubelet": kubelet / PERIODS, "pss": memory(pid)["pss"]}


def _cpu_of_kubelets_probe(pod: Pod, exporter: Group) -> float:
    """CPU of the exporter for one request as the kubelet makes them, which closes its connection."""
    before = exporter.cpu
    assert pod.get("/readyz")[0] == 200
    return exporter.cpu - before


def _probes_a_day(container: dict[str, Any]) -> int:
    """Requests of the kubelet to a *container* in a day."""
    return sum(DAY // container[kind]["periodSeconds"] for kind in PROBES if kind in container)


def rows(found: dict[str, Any]) -> list[Row]:
    """The figures beside what they are compared with."""
    made = []
    for name, busy, piece in (
        ("probe", f"{found['mounts']} mounts", "a probe"),
        ("exporter", f"{SCRAPES} scrapes", "a scrape"),
    ):
        own = found[name]
        held, peak, request, limit = (own[key] for key in ("held", "peak", "request", "limit"))
        made += [
            Row(f"{name} container at rest", mib(held), f"request: {mib(request)}", held / request, "under 1"),
            Row(f"{name} container, peak, {busy}", mib(peak), f"limit: {mib(limit)}", peak / limit, "under 0.50"),
            Row(f"{name} container, CPU of {piece}", ms(own["work"]), "", None),
        ]
    few, many = found["probe"]["work"], found["probe with many"]
    first = found["first looks"]
    made.append(Row("probe container, CPU of the looks after a probe", ms(first), "", None))
    made.append(
        Row(
            f"probe container, CPU of a probe, {found['mounts']} mounts",
            ms(many),
            f"{FEW} mounts: {ms(few)}",
            many / few,
        )
    )
    requests = found["requests"]
    look, theirs = (LOOK * rate for rate in (found["probe"]["rate"], found["node_exporter"]["cpu"]))
    made.append(
        Row("probe container, CPU of a look", ms(look), f"node_exporter, a scrape: {ms(theirs)}", look / theirs)
    )
    made += [Row(f"exporter container, CPU of a {kind}", ms(requests[kind]), "", None) for kind in KINDS]
    asked, kubelet = found["exporter"]["asked"], found["node_exporter"]["kubelet"]
    made += [
        Row("exporter container, CPU of a kubelet's probe", ms(kubelet), "", None),
        Row("kubelet's probes, CPU a day", f"{asked * kubelet:.1f} s", f"{asked} requests, in no other row", None),
    ]
    probing = PROBES_A_DAY * (found["probe"]["work"] + first)
    return [*made, *_rows_of_both(found["probe"], found["exporter"], probing, requests, found["node_exporter"])]


def _rows_of_both(
    probe: dict[str, float],
    exporter: dict[str, float],
    probing: float,
    requests: dict[str, float],
    rival: dict[str, float],
) -> list[Row]:
    held, day = probe["pss"] + exporter["pss"], DAY * rival["cpu"]
    own = probing + DAY * (probe["rate"] + exporter["rate"])
    own += READS_A_DAY * requests["read"] + WRITES_A_DAY * requests["write"]
    compared = f"node_exporter alone: {mib(rival['pss'])}"
    return [
        Row("both containers at rest, PSS", mib(held), compared, held / rival["pss"], "at most 1.50"),
        Row(
            "both containers, CPU a day", f"{own:.0f} s", f"node_exporter alone: {day:.0f} s", own / day, "at most 0.35"
        ),
    ]
