"""The Pod question as one pure function."""

from __future__ import annotations

from probe.pod.model import Judgement, Node, Pod, Reason


def judge(pod: Pod, node: Node) -> Judgement:
    """What becomes of *pod* on *node*, and why. Nothing that was not tried there is called tried."""
    unknown = Reason(
        field=f"{pod.path}.hostUsers",
        outcome="unknown",
        source="unknown",
        reason="NotTried",
        message="not judged yet",
    )
    asks = pod.spec.host_users is False
    return Judgement(outcome="unknown", asks=asks, level=None, source="unknown", reasons=(unknown,), notes=())
