"""Facts of a failed gathering: each Reading carries the same problem."""

from __future__ import annotations

import os
from typing import Any

from probe.facts.model import Facts, KernelFacts, ProbeFacts
from probe.facts.nested.model import unknown_nested
from probe.facts.tried import NOT_ASKED, POD_NOT_ASKED, NamespaceAttempt
from probe.host import syscalls
from probe.reading import ProblemKind, Reading

_SOURCE = "the gathering process"


def unknown_facts(node_name: str | None, kind: ProblemKind, problem: str) -> Facts:
    """Facts in which every reading has this one problem, so that every check answers `unknown`."""
    unread: Reading[Any] = Reading(_SOURCE, None, problem, kind)
    return Facts(
        node_name=node_name,
        distribution=unread,
        probe=ProbeFacts(
            uid=-1,
            effective_capabilities=0,
            seccomp=unread,
            in_initial_user_namespace=unread,
            chrooted=False,
            threads=1,
            entered=unread,
            supported_architecture=syscalls.SUPPORTED_ARCHITECTURE,
        ),
        kernel=KernelFacts(
            release=unread,
            architecture=os.uname().machine,
            boot_id=unread,
            user_namespace_file=unread,
            namespace_limits={},
            unprivileged_userns_clone=unread,
            apparmor_restrict_unprivileged_userns=unread,
            lsm=unread,
            selinux_enforcing=unread,
            cgroup_version=unread,
            container=unread,
        ),
        mounts=unread,
        user_namespace=NamespaceAttempt(
            result="unknown",
            step="",
            errno="",
            reason=problem,
            kind="timed-out" if kind == "timed-out" else "not-readable",
            map="",
        ),
        kubelet=unread,
        getsubids_missing=unread,
        runtime=unread,
        attempts=(),
        ids=unread,
        sandbox=unread,
        runtime_trial=NOT_ASKED,
        pod_trial=POD_NOT_ASKED,
        pods=unread,
        hooks=unread,
        devices=unread,
        kubelet_around=unread,
        nested=unknown_nested(unread),
        userns_pod_runs=unread,
        boot=unread,
    )
