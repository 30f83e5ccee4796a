"""The levels that a Pod needs, against those that its node has for its runtime handler."""

from __future__ import annotations

from probe.pod.model import POD_LEVELS, Answer, Node, Pod, Reason
from probe.pod.walk import KEEP_HOST, reason, with_command
from probe.terms import Level

_OF_ALL_HANDLERS = frozenset((
    "UserNamespacesDisabled", "UserNamespacesNotBuilt", "UserNamespaceRefused", "NamespacesDisabled", "ProcCovered",
    "SysfsCovered", "KubeletTooOld", "KubeletGateOff", "RuntimeTooOld", "CriServiceMissing", "RuntimeConfined",
    "KubeletConfined", "VolumesNotPropagated", "RuntimeRootNotIdmappable", "KubeletRootNotIdmappable",
    "TmpfsNotIdmappable", "RuntimeNotReady", "NetworkNotReady", "KubeletDirectoryHidden",
    "NoPodAdmitted", "MountProgramMissing",
))  # fmt: skip
"""Reasons that no other handler would change."""
_WHY: dict[Level, str] = {
    "stateless": "a user namespace, the image and the files of every Pod",
    "projected": "tmpfs",
    "local": "the disk of the kubelet's directory",
}


class Levels:
    """Answers of the node to each level for the handler of one Pod."""

    def __init__(self, pod: Pod, node: Node) -> None:
        self.handler, self._answers = _answers(pod, node)
        """The handler that counts; None when it is not known."""
        self.needed: tuple[Level, ...] = ()
        """Those that were asked for."""

    def judge(self, field: str, level: Level) -> Reason:
        """The Reason of *field*, which needs *level*."""
        self.needed = (*self.needed, level)
        answer = self._answers[level]
        outcomes = {"ready": "runs", "not-ready": "fails", "unknown": "unknown"}
        way = answer.remediation or (f"see the node's report, or {KEEP_HOST}" if answer.verdict == "not-ready" else "")
        return reason(
            field,
            outcomes[answer.verdict],  # type: ignore[arg-type]
            "unknown" if answer.verdict == "unknown" else "tried",
            answer.reason or "NodeReady",
            answer.message or f"{level}: {_WHY[level]}",
            way,
        )


def _answers(pod: Pod, node: Node) -> tuple[str | None, dict[Level, Answer]]:
    """The handler, and its answers."""
    name = pod.spec.runtime_class_name
    handler = pod.handler if name else ""
    if handler is not None:
        return handler, _of_handler(handler, node)
    message = f"unknown which runtime handler the RuntimeClass {name} names"
    way = with_command("give the RuntimeClass as well", "kubectl get runtimeclass {} -o yaml", name or "")
    unknown = Answer(verdict="unknown", reason="RuntimeClassNotKnown", message=message, remediation=way)
    known = [_of_handler(one, node) for one in node.handlers] if node.handlers_complete else []
    wide = _of_all(node)
    for level in POD_LEVELS:  # a handler that is not there fails, too
        if known and all(answers[level].verdict == "not-ready" for answers in known):
            wide.setdefault(level, known[0][level])
    return None, {level: wide.get(level, unknown) for level in POD_LEVELS}


def _of_handler(handler: str, node: Node) -> dict[Level, Answer]:
    unknown = Answer(verdict="unknown", reason="NotTried", message="nothing is known about this node")
    if handler in node.handlers:
        return {level: node.handlers[handler].get(level, unknown) for level in POD_LEVELS}
    wide = _of_all(node)
    if node.handlers_complete:
        message = f"the container runtime of this node has no handler {handler}"
        missing = Answer(verdict="not-ready", reason="HandlerUnknown", message=message)
        return {level: wide.get(level, missing) for level in POD_LEVELS}
    message = f"unknown what the handler {handler} supports"
    unknown = Answer(verdict="unknown", reason="NotTried", message=message)
    return {level: wide.get(level, unknown) for level in POD_LEVELS}


def _of_all(node: Node) -> dict[Level, Answer]:
    """Levels that fail with every handler."""
    default = node.handlers.get("", {})
    return {
        level: answer
        for level, answer in default.items()
        if answer.verdict == "not-ready" and answer.reason in _OF_ALL_HANDLERS
    }
