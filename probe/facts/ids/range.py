"""Sources of the kubelet's range of IDs: account, getsubids(1), /etc/subuid, read by the kubelet's own rules.

*Source*: kubelet, `getKubeletMappings` in `pkg/kubelet/kubelet_pods.go`; subuid(5), getsubids(1), passwd(5).
"""

from __future__ import annotations

import stat
from typing import TypeVar

from probe.facts.defaults import BLOCK
from probe.facts.ids.owners import entries_of, gather_accounts, gather_owners, parse_accounts
from probe.facts.ids.records import gather_userns_files
from probe.facts.kubelet.versions import parse_release
from probe.facts.model import IdFacts, KubeletFacts, UsernsFile
from probe.host.environ import parse_environment, search_path
from probe.host.host import Host
from probe.host.program import Output
from probe.reading import Reading, or_problem, problem_of

T = TypeVar("T")

ACCOUNT = "kubelet"
"""Account whose range the kubelet uses; a constant in the kubelet."""
ACCOUNT_SINCE = (1, 30)
"""First release that uses the range of an account; older ones have a fixed range."""
GETENT_SINCE = (1, 38)
"""First release built without cgo, which runs getent(1) instead of calling libc."""

_USUAL_PATH = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin")
_PRINTED = 10_000  # characters; one range takes forty, and the kubelet quotes the whole output in its error message


def gather_ids(host: Host, kubelet: KubeletFacts) -> Reading[IdFacts]:
    """Facts for the kubelet's next start, read below its root and with programs run in its mount namespace."""
    source, root = f"/proc/{kubelet.pid}", f"/proc/{kubelet.pid}/root"
    path = host.environment(kubelet.pid).parse(parse_environment).parse(search_path)
    passwd = host.read(f"{root}/etc/passwd")
    own = entries_of(passwd, _own_ids, "/etc/passwd")
    local = own.parse(bool)
    account = _account(host, kubelet, local, path)
    getsubids: Reading[str] = _not_tried("getsubids")
    if account.value:
        getsubids = _look_path(host, kubelet.pid, "getsubids", path)
    subuids = _ask(host, kubelet.pid, getsubids, ACCOUNT)
    succeeded = subuids.value is not None and subuids.value.status == 0
    facts = IdFacts(
        account=account,
        local_account=local,
        getsubids=getsubids,
        subuids=subuids,
        subgids=_ask(host, kubelet.pid, getsubids, "-g", ACCOUNT) if succeeded else _not_tried("getsubids -g kubelet"),
        owners=gather_owners(host, root, {ACCOUNT, *(own.value or ())}),
        accounts=gather_accounts(host, root, passwd, BLOCK),
        service=_service(host, root),
        files=_files(host, root, kubelet),
    )
    if host.started_at(kubelet.pid) != kubelet.started_at:
        return Reading.without(source, "not-readable", "the kubelet was restarted while it was looked at")
    return Reading(source, facts)


def _service(host: Host, root: str) -> Reading[str]:
    """Service of `subid:` in /etc/nsswitch.conf; shadow's libsubid uses one only, by default `files`."""
    content = host.read_text(f"{root}/etc/nsswitch.conf")
    return Reading(content.source, "files") if content.kind == "absent" else content.parse(parse_subid_service)


def parse_subid_service(text: str) -> str:
    """First word of the line `subid:`; `files` without such a line."""
    for line in text.split("\n"):
        name, _, services = line.partition("#")[0].partition(":")
        if name.strip() == "subid" and services.split():
            return services.split()[0][:60]
    return "files"


def _account(host: Host, kubelet: KubeletFacts, local: Reading[bool], path: Reading[tuple[str, ...]]) -> Reading[bool]:
    """True when the kubelet finds its account, by libc or getent(1) depending on its version."""
    release = kubelet.version.parse(parse_release).value
    if release is not None and release < ACCOUNT_SINCE:
        return Reading("kubelet before 1.30, which looks up no account", False)
    if release is not None and release >= GETENT_SINCE:
        getent = _look_path(host, kubelet.pid, "getent", path)
        if getent.kind == "absent":
            return Reading("getent, which is not on the kubelet's PATH", False)
        return _ask_getent(host, kubelet.pid, getent)
    if local.value:
        return local
    getent = _look_path(host, kubelet.pid, "getent", Reading("", _USUAL_PATH))
    if getent.kind == "absent":
        return local
    found = _ask_getent(host, kubelet.pid, getent)
    if found.value and kubelet.distribution != "kubelet":
        problem = "the account is known to NSS alone, and whether this build of the kubelet asks NSS is not known"
        return Reading.without(found.source, "not-readable", problem)
    return found


@or_problem
def _look_path(host: Host, pid: int, name: str, path: Reading[tuple[str, ...]]) -> Reading[str]:
    """First executable *name* in *path* below the root of process *pid*, as in Go's exec.LookPath."""
    for directory in path.need():
        seen = host.status(f"/proc/{pid}/root{directory}/{name}")
        if seen.value is None and seen.kind != "absent":
            return problem_of(seen)
        if seen.value is not None and stat.S_ISREG(seen.value.mode) and seen.value.mode & 0o111:
            return Reading(f"{name} on the kubelet's PATH", f"{directory}/{name}")
    return Reading.without(f"{name} on the kubelet's PATH", "absent", "it is in none of the directories")


def _ask_getent(host: Host, pid: int, getent: Reading[str]) -> Reading[bool]:
    """True when getent(1) in the root of *pid* knows the account. *Source*: getent(1): status 2 is "not found"."""
    return _ask(host, pid, getent, "passwd", ACCOUNT).parse(_parse_getent)


def _parse_getent(output: Output) -> bool:
    if output.status not in (0, 2):
        raise ValueError(f"ended with status {output.status}")
    return output.status == 0


@or_problem
def _ask(host: Host, pid: int, program: Reading[str], *arguments: str) -> Reading[Output]:
    answer = host.run_in(pid, program.need(), *arguments).parse(_parse_output)
    if answer.kind == "absent":  # the program exists, so its loader or interpreter is missing
        return Reading.without(answer.source, "not-readable", f"it could not be run: {answer.problem}")
    return answer


def _parse_output(output: Output) -> Output:
    """*output*; ValueError for exit status 126 or 127, which a shell returns for a program that cannot be run."""
    if output.status in (126, 127) and not output.stdout and not output.stderr:
        raise ValueError(f"it could not be run (status {output.status})")
    if len(output.stdout) > _PRINTED:
        raise ValueError(f"it printed {len(output.stdout)} characters")
    return output


def _own_ids(passwd: str, file: str) -> tuple[str, ...]:
    """ID of the account, which subuid(5) may contain instead of its name."""
    return tuple(str(each.id) for each in parse_accounts(passwd, file) if each.name == ACCOUNT)


@or_problem
def _files(host: Host, root: str, kubelet: KubeletFacts) -> Reading[tuple[UsernsFile, ...]]:
    return gather_userns_files(host, f"{root}{kubelet.root_dir.need().rstrip('/')}/pods")


def _not_tried(source: str) -> Reading[T]:
    return Reading.without(source, "not-tried", "not asked, since the kubelet does not ask either")
