"""A real containerd with a real runc, from its socket to the checks."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from lab.factory import make_facts
from lab.prerequisites import require
from lab.real import packages
from lab.real.daemon import serving
from probe.checks.runtime.offers import CHECKS
from probe.facts.model import RuntimeFacts
from probe.facts.runtime.facts import gather_runtime
from probe.host.child import run_child
from probe.host.cri import CriAnswer
from probe.host.cri_call import ANSWER_LIMIT, ask_cri
from probe.host.host import LocalHost
from probe.reading import Reading

pytestmark = pytest.mark.real


@contextmanager
def _containerd(workspace: Path, runc: Path) -> Iterator[str]:
    """containerd 2 whose runc is the file *runc*, at first a copy of one that is new enough."""
    require(os.geteuid() == 0, "root")
    try:
        containerd, new = packages.containerd(), packages.runtime("runc", (1, 2))
    except packages.Unavailable as problem:
        require(False, str(problem))
        raise
    shutil.copy(new.path, runc)
    with serving(containerd, replace(new, path=str(runc)), str(workspace)) as socket:
        yield socket


def _gather(socket: str) -> RuntimeFacts:
    answer = run_child(lambda: msgspec.json.encode(ask_cri(socket)), 20, limit=ANSWER_LIMIT)
    with closing(LocalHost()) as host:
        facts = gather_runtime(host, socket, Reading("CRI", msgspec.json.decode(answer, type=CriAnswer))).value
    assert facts is not None
    return facts


def _statuses(runtime: RuntimeFacts) -> dict[str, str]:
    facts = make_facts(runtime=runtime)
    return {check.id: check.check(facts).status for check in CHECKS}


def test_containerd_and_runc(tmp_path: Path) -> None:
    """All that a probe asks of containerd 2 and runc is answered, by themselves."""
    runc = tmp_path / "runc"
    with _containerd(tmp_path, runc) as socket:
        facts = _gather(socket)
        assert (facts.name.value, (facts.version.value or "")[:2]) == ("containerd", "2.")
        handlers = {handler.name: handler for handler in facts.handlers.value or ()}
        assert sorted(handlers) == ["", "runc"]
        for handler in handlers.values():
            assert handler.user_namespaces is True
            assert (handler.binary.value, handler.oci_runtime.value) == (str(runc), "runc")
            assert (handler.oci_idmap.value, handler.oci_user_namespace.value) == (True, True)
            assert handler.binary_newer.value is False
        assert (facts.snapshotter.value, facts.slow_chown.value) == ("overlayfs", False)
        assert facts.root_dir.value == f"{Path(socket).parent}/root"
        assert facts.confinement.value is not None
        assert Path(f"/proc/{facts.confinement.value.pid}/comm").read_text() == "containerd\n"
        assert _statuses(facts) == dict.fromkeys(_statuses(facts), "pass")


def test_runc_downgraded_without_restart(tmp_path: Path) -> None:
    """containerd goes on promising what its runc cannot do any more; the probe does not believe it."""
    runc = tmp_path / "runc"
    with _containerd(tmp_path, runc) as socket:
        try:
            old = packages.machine_runtime("runc")
        except packages.Unavailable as problem:
            require(False, str(problem))
            raise
        require(old.version < (1, 2), f"a runc older than 1.2, not {old}")
        time.sleep(3)  # the start of a process is known to two seconds
        runc.unlink()
        shutil.copy2(old.path, runc)  # with its own time, years ago, as a package manager does
        facts = _gather(socket)
    (handler, _) = facts.handlers.value or ()
    assert (handler.user_namespaces, handler.oci_idmap.value, handler.binary_newer.value) == (True, False, True)
    statuses = _statuses(facts)
    assert (statuses["runtime-user-namespaces"], statuses["runtime-oci-features"]) == ("fail", "warn")


@pytest.mark.parametrize(("suite", "version"), [("bookworm", "1.6"), ("trixie", "1.7")])
def test_a_containerd_before_2_names_no_handlers(suite: str, version: str, tmp_path: Path) -> None:
    """However new its runc, the kubelet turns Pods with a user namespace away."""
    require(os.geteuid() == 0, "root")
    try:
        containerd, runc = packages.from_suite("containerd", suite), packages.runtime("runc", (1, 2))
    except packages.Unavailable as problem:
        require(False, str(problem))
        raise
    if containerd.version >= (2,):
        pytest.skip(f"Debian's {suite} has {containerd} by now")
    with serving(containerd, runc, str(tmp_path)) as socket:
        facts = _gather(socket)
        assert (facts.name.value, (facts.version.value or "")[:3]) == ("containerd", version)
        assert facts.handlers.value == ()
        assert _statuses(facts)["runtime-user-namespaces"] == "fail"


def test_containerd_and_crun(tmp_path: Path) -> None:
    """crun is known by what it says of itself, whatever the handler is called."""
    require(os.geteuid() == 0, "root")
    try:
        containerd, crun = packages.containerd(), packages.runtime("crun", (1, 9))
    except packages.Unavailable as problem:
        require(False, str(problem))
        raise
    with serving(containerd, crun, str(tmp_path)) as socket:
        facts = _gather(socket)
        assert {handler.oci_runtime.value for handler in facts.handlers.value or ()} == {"crun"}
        assert {handler.user_namespaces for handler in facts.handlers.value or ()} == {True}
        assert _statuses(facts)["runtime-user-namespaces"] == "pass"
