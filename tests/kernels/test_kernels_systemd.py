"""systemd as process 1 of a Pod with a user namespace, where cgroup v2 is: prediction is fate, for each handler."""

from __future__ import annotations

import os
import shutil

import pytest

from lab.kernels import packages, systemd
from lab.prerequisites import require
from lab.real.debian import Unavailable
from lab.real.engines import BOOTED
from tests.extent import ALL

pytestmark = [
    pytest.mark.real,
    pytest.mark.qemu,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not ALL, reason="takes minutes; scripts/test --all"),
]

WORDS = {"CgroupReadOnly": "Read-only file system", "CgroupNotOwned": "Permission denied"}
"""Reason of the prediction and what systemd then says of its control group."""


def test_systemd_starts_where_it_is_predicted() -> None:
    """With its own cgroup systemd starts multi-user.target; with one that is read-only or nobody's it ends as told."""
    require(os.geteuid() == 0, "root")
    require(shutil.which("qemu-system-x86_64"), "command qemu-system-x86_64 (package qemu-system-x86)")
    try:
        outcome = systemd.observe(packages.kernel("6.12"))
    except Unavailable as problem:
        require(False, str(problem))
        raise
    assert outcome.code == 0, outcome.console
    found = {each["handler"]: each for each in outcome.documents}
    predicted = {name: (each["predicted"], each["reason"]) for name, each in found.items()}
    assert predicted == {
        "": ("not-ready", "CgroupReadOnly"),
        "owned": ("ready", ""),
        "unowned": ("not-ready", "CgroupNotOwned"),
    }
    for name, each in found.items():
        if each["predicted"] == "ready":
            assert each["fate"] in BOOTED, (name, outcome.console)
        else:
            assert f"Failed to create /init.scope control group: {WORDS[each['reason']]}" in each["fate"], name
