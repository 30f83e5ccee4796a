"""Check of the confinement of the container runtime, which may be stricter than that of the probe and its attempts."""

from __future__ import annotations

import os
import re

from msgspec.structs import replace

from probe.checks.check import Outcome
from probe.checks.privileges import seccomp_words, user_namespace_words
from probe.checks.remedies.platforms import nested
from probe.checks.remedies.runtime import PROVE_IT
from probe.checks.runtime.names import handlers_of, no_runtime, runtime_name
from probe.facts.model import Confinement, Facts
from probe.facts.runtime.model import NO_PROFILES, Profile
from probe.finding import Evidence
from probe.reading import Reading

_CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
}
"""Capabilities that start a Pod with a user namespace. *Source*: capabilities(7)."""
_INDISPENSABLE = ("CAP_SETGID", "CAP_SETUID", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN")
"""Capabilities for the ID map, the namespaces of the container's process and the idmapped mount.

*Source*: user_namespaces(7), mount_setattr(2); for CAP_SYS_PTRACE seen with runc 1.3.6 and crun 1.28, which open
`/proc/PID/ns/mnt` and `/proc/PID/ns/user` of a process with other IDs (proc(5)).
"""

_FOR_IMAGES = {"CAP_CHOWN", "CAP_FOWNER"}
"""Needed to unpack an image with its owners and modes: a Pod of a present image proves nothing about others."""

_FREE_PROFILE = re.compile(r"(unconfined|.+ \((unconfined|complain)\))?")
"""Labels under which AppArmor refuses nothing. *Source*: apparmor(7)."""
_SELINUX_CONTEXT = re.compile(r"[^:]+:[^:]+:([^:]+)(:[^()]*)?")
_FREE_DOMAINS = (
    "container_runtime_t",
    "init_t",
    "initrc_t",
    "kernel_t",
    "spc_t",
    "unconfined_service_t",
    "unconfined_t",
)
"""Domains that the reference policy and container-selinux leave unconfined."""
_FREE_DOMAINS_OF = {"bottlerocket": ("runtime_t",)}
"""Domains that the policy of a distribution lets make user namespaces. *Source*: bottlerocket-os/bottlerocket-core-kit,
packages/selinux-policy."""


_WITHOUT_POLICY = ("kernel", "init")
"""Labels of SELinux before a policy is loaded, and so for ever with SELINUX=disabled: then it allows everything.

*Source*: security/selinux/ss/services.c, `security_sid_to_context_core`, `security_compute_av`; selinux_config(5).
"""

_GLOB = re.compile(r"\*\*|\[\^?[\w./-]{1,60}\]|.", re.DOTALL | re.ASCII)
_IN_RE = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
"""Globs of AppArmor as regular expressions. *Source*: apparmor.d(5), Globbing."""
_PATTERN_LIMIT, _STARS_LIMIT = 200, 6
_STARS = re.compile(r"\*+")
_STEPS_LIMIT = 10**8
"""Of a search in which every star tries each length. Up to it none took more than 0.03 s."""


def check_confinement(facts: Facts) -> Outcome:
    """Fail when the confinement forbids user namespaces; unknown when it may."""
    runtime = facts.runtime.value
    if runtime is None:
        return no_runtime(facts, "what confines the container runtime")
    confinement = runtime.confinement.value
    if confinement is None:
        return Outcome.not_read("what confines the container runtime", runtime.confinement)
    for_images = set(_missing(confinement.effective_capabilities)) & _FOR_IMAGES
    return replace(_judge(facts, confinement, runtime_name(runtime)), stands=bool(for_images))


def _judge(facts: Facts, confinement: Confinement, name: str) -> Outcome:
    capabilities, initial = confinement.effective_capabilities, confinement.in_initial_user_namespace
    seen = (
        _in_hexadecimal(capabilities),
        initial.parse(user_namespace_words),
        confinement.seccomp.parse(seccomp_words),
        confinement.label.parse(lambda label: f"label {label}" if label else "no label"),
    )
    missing = _missing(capabilities)
    if lost := [one for one in missing if one in _INDISPENSABLE]:
        return Outcome.fail("RuntimeConfined", f"{name} runs without {', '.join(lost)}", *seen)
    if initial.value is False and nested(facts) == "container":
        message = "the node is a container in a user namespace (LXC, LXD): it may not map the machine's file systems"
        return Outcome.fail("RuntimeConfined", message, *seen, facts.kernel.container)
    if initial.value is False:
        message = f"{name} runs in a user namespace of its own (rootless), where it may not map the node's file systems"
        return Outcome.fail("RuntimeConfined", message, *seen)
    if confinement.root.value not in (None, "/"):
        message = f"{name} runs in a chroot, where the kernel refuses user namespaces even to root"
        remediation = (
            f"Start {name} with the node's own root directory: without chroot(8) or nsenter --root in its unit or in a "
            "script that starts it. RootDirectory= of systemd 252 or newer is not a chroot."
        )
        return Outcome.fail("RuntimeConfined", message, *seen, confinement.root, remediation=remediation)
    for part in (capabilities, initial, confinement.seccomp, confinement.label):
        if part.value is None:
            return Outcome.not_read("what confines the container runtime", part, *seen)
    if missing:
        return _cannot_tell(f"{name} runs without {', '.join(missing)}", *seen)
    if confinement.seccomp.value:
        return _cannot_tell(f"{name} runs under a seccomp filter", *seen)
    label = confinement.label.value or ""
    if binds(label, facts):
        return _cannot_tell(f"a security module confines {name} as {label[:80]}", *seen)
    if _may_be_in_landlock(facts):
        return _cannot_tell(f"{name} runs with no_new_privs and may be confined by Landlock", *seen)
    return Outcome.passed(f"{name} is confined no more than the probe", *seen)


def _may_be_in_landlock(facts: Facts) -> bool:
    """Whether the daemon has the one trace of a Landlock domain that the kernel shows. *Source*: landlock(7)."""
    around = facts.runtime.value.surroundings.value if facts.runtime.value else None
    daemon = around.daemon.value if around else None
    active = facts.kernel.lsm.value is None or "landlock" in facts.kernel.lsm.value.split(",")
    return bool(active and daemon and daemon.no_new_privileges.value)


def _missing(capabilities: Reading[int]) -> list[str]:
    if capabilities.value is None:
        return []
    return [name for name, bit in _CAPABILITIES.items() if not capabilities.value >> bit & 1]


def _in_hexadecimal(capabilities: Reading[int]) -> Reading[str]:
    """The capabilities as proc_pid_status(5) prints them, in hexadecimal."""
    return capabilities.parse(lambda value: f"CapEff {value:016x}")


def binds(label: str, facts: Facts, *own: str) -> bool:
    """Whether a label of attr/current may forbid something; *own* are domains made for what the process does."""
    if _FREE_PROFILE.fullmatch(label):
        return False
    if label in _WITHOUT_POLICY and "smack" not in (facts.kernel.lsm.value or "").split(","):
        return False
    context = _SELINUX_CONTEXT.fullmatch(label)
    system = (facts.distribution.value or "").partition(" ")[0]
    free = (*own, *_FREE_DOMAINS, *_FREE_DOMAINS_OF.get(system, ()))
    return not context or (facts.kernel.selinux_enforcing.value is not False and context[1] not in free)


def _cannot_tell(message: str, *seen: Reading[int] | Reading[str] | Reading[bool] | Evidence) -> Outcome:
    text = f"{message}, which may forbid user namespaces"
    remediation = f"{PROVE_IT} Where handlers run different OCI runtimes, only --try-pod does."
    return Outcome.unknown("not-readable", text, *seen, remediation=remediation)


def confined_program(facts: Facts) -> tuple[str, Profile] | None:
    """The first program of the default handler for which AppArmor has a profile that may refuse something."""
    around = facts.runtime.value.surroundings.value if facts.runtime.value else None
    if around is None:
        return None
    paths = [one.binary.value for one in handlers_of(facts) if not one.name]
    paths += [one.shim.value for one in around.handlers if not one.name]
    profiles = around.profiles.value or ()
    return next(((path, one) for path in paths if path for one in profiles if is_for(one, path)), None)


def profiles_of(facts: Facts) -> Reading[tuple[Profile, ...]]:
    """Profiles of AppArmor that may refuse something; `not-tried` where the runtime's surroundings are not known."""
    around = facts.runtime.value.surroundings.value if facts.runtime.value else None
    return around.profiles if around else NO_PROFILES


def is_for(profile: Profile, program: str) -> bool:
    """True when a profile is attached to the path, or where the kernel does not tell it, has the program's name."""
    if not profile.attached:
        return profile.name == os.path.basename(program)
    steps = len(f"/usr{program}") ** len(_STARS.findall(profile.attached))
    if len(profile.attached) > _PATTERN_LIMIT or profile.attached.count("*") > _STARS_LIMIT or steps > _STEPS_LIMIT:
        return True  # a regular expression of many repeats takes too long
    pattern = _GLOB.sub(lambda found: _IN_RE.get(found[0]) or re.escape(found[0]), profile.attached)
    try:
        return any(re.fullmatch(pattern, path) for path in (program, f"/usr{program}"))
    except re.error:
        return True
