"""Modules that are imported when the node is entered, whose files are others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.prerequisites import require

PROJECT = Path(__file__).parents[2]
_IMPORTED = r"(?m)import_own\((?:\"([\w.]+)\"|_FEW)\)|^_FEW = \"([\w.]+)\""
_SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[1])
import probe.facts.gather
from probe.host.host import LocalHost
from probe.host.namespaces import enter_node, import_own
print(enter_node(sys.argv[2]).value, os.path.exists(sys.argv[1] + "/probe"))
for name in sys.argv[3:]:
    import_own(name)
host = LocalHost()
print("PE" in host.read_sections("/etc/passwd").problem)  # by another process
host.close()
print(os.readlink("/proc/self/ns/mnt"), os.path.exists(sys.argv[1] + "/probe"))
"""


def named() -> list[str]:
    """Modules that few nodes need, of what reads the node."""
    texts = (path.read_text() for part in ("facts", "host") for path in (PROJECT / "probe" / part).rglob("*.py"))
    return sorted({name for text in texts for pair in re.findall(_IMPORTED, text) for name in pair if name})


@pytest.mark.real
def test_our_own_files_in_the_node(tmp_path: Path) -> None:
    """In a container the node has no such files; afterwards the process is in the node again."""
    require(os.geteuid() == 0, "root")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "proc" / "1").mkdir(parents=True)
    (tmp_path / "proc" / "1" / "ns").symlink_to(f"/proc/{os.getpid()}/ns")
    script = f'mount -t tmpfs none "{tmp_path}/hidden" && cp -r "$1" "{tmp_path}/hidden/probe" && shift && exec "$@"'
    python = [sys.executable, "-P", "-c", _SCRIPT, f"{tmp_path}/hidden", f"{tmp_path}/proc", *named()]
    command = [shutil.which("unshare") or "unshare", "--mount", "sh", "-c", script, "sh", f"{PROJECT}/probe", *python]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["True", "False", "True", os.readlink("/proc/self/ns/mnt"), "False"], done.stderr


def test_no_module_is_imported_there_in_another_way() -> None:
    """Each import inside of a function of what gathers facts is of a module that is there before, or `import_own`."""
    assert {"probe.facts.boot.unified", "probe.facts.devices.offered"} <= set(named())
    late = re.compile(r"(?m)^ +from (probe\.[\w.]+) import .*$")
    before = {"probe.facts.trials", "probe.facts.memory", "probe.host.memory_file", "probe.host.recording"}
    before |= {"probe.facts.kubelet.config"}
    found = {
        name
        for path in (PROJECT / "probe" / "facts").rglob("*.py")
        for name in late.findall(path.read_text())
        if not any(name == one or name.startswith(f"{one}.") for one in before)
    }
    assert not found
