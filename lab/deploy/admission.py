"""The shipped ValidatingAdmissionPolicies about Nodes, evaluated as an API server does it."""

from __future__ import annotations

from lab.deploy import cel
from lab.deploy.cel import Document

USER = "system:serviceaccount:userns-probe:userns-probe"
NODE_NAME = "authentication.kubernetes.io/node-name"


def refusals(
    policy: Document, old: Document, new: Document, user: str = USER, node: str | None = "k8slab"
) -> list[str]:
    """The messages of all rules that refuse to let *user*, with a token bound to *node*, make *new* of *old*.

    As with `failurePolicy: Fail`, an expression that fails refuses, too.
    """
    told = {"userInfo": {"username": user, **({} if node is None else {"extra": {NODE_NAME: [node]}})}}
    return cel.refusals(policy, {"object": new, "oldObject": old, "request": told})
