"""A stopped kubelet that cannot start: its account exists, and getsubids(1), which prints its IDs, does not.

*Source*: kubelet, `getKubeletMappings`: `exec: "getsubids": executable file not found in $PATH` ends it.
"""

from __future__ import annotations

import re
import stat

from probe.facts.ids.owners import parse_accounts
from probe.facts.ids.range import ACCOUNT
from probe.host.host import Host
from probe.reading import Reading, or_problem, problem_of

_UNIT = "kubelet.service"
_UNIT_DIRECTORIES = ("/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system")
_USUAL_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""*Source*: systemd.exec(5), Environment Variables in Spawned Processes, $PATH."""
_PATH = r"(?m)^\s*Environment=(?:.*[\"'\s])?PATH=([^\"'\s]+)"
_LIMIT = 1 << 16
_DROP_INS = 50
_FOLDERS = 40


@or_problem
def gather_getsubids_missing(host: Host) -> Reading[bool]:
    """True where /etc/passwd has the account `kubelet`, and no getsubids is on the PATH of the kubelet's unit."""
    passwd = host.read("/etc/passwd").parse(lambda content: parse_accounts(content.decode(errors="replace"), ""))
    if ACCOUNT not in {each.name for each in passwd.need()}:
        return Reading(passwd.source, False)
    folders = _path_of_unit(host).need() or _USUAL_PATH
    for folder in folders[:_FOLDERS]:
        seen = host.status(f"{folder}/getsubids")
        if seen.value is None and seen.kind != "absent":
            return problem_of(seen)
        if seen.value is not None and stat.S_ISREG(seen.value.mode) and seen.value.mode & 0o111:
            return Reading(f"{folder}/getsubids", False)
    return Reading(f"{passwd.source}, getsubids in {', '.join(folders)}"[:500], True)


def _path_of_unit(host: Host) -> Reading[tuple[str, ...]]:
    """Absolute folders of the last PATH that the unit or its drop-in files set; empty without any."""
    files = [f"{directory}/{_UNIT}" for directory in _UNIT_DIRECTORIES]
    for directory in _UNIT_DIRECTORIES:
        names = host.list_directory(f"{directory}/{_UNIT}.d")
        if names.kind not in (None, "absent"):
            return problem_of(names)
        files += [f"{names.source}/{name}" for name in names.value or () if name.endswith(".conf")][:_DROP_INS]
    found: list[str] = []
    for file in files:
        text = host.read_text(file, _LIMIT)
        if text.kind not in (None, "absent"):
            return problem_of(text)
        found += re.findall(_PATH, text.value or "")
    folders = tuple(folder for folder in found[-1].split(":") if folder.startswith("/")) if found else ()
    return Reading(_UNIT, folders)
