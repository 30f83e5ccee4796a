"""Log fields for failures of the Kubernetes API, derived from the server's messages."""

from __future__ import annotations

import re

from probe.outputs.labels import shown
from probe.publish.api.interface import NO_CREDENTIALS, UNREACHABLE, Failure

_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]{1,500})" cannot (?P<verb>[a-z]{1,50}) resource "(?P<resource>[^"]{1,200})"'
    r' in API group "(?P<group>[^"]{0,200})"(?: in the namespace "(?P<namespace>[^"]{1,200})")?'
)
_POLICY = re.compile(
    r"ValidatingAdmissionPolicy '(?P<policy>[^']{1,300})' with binding '(?P<binding>[^']{1,300})'"
    r" denied request: (?P<refused>.{0,500})",
    re.DOTALL,
)
_WEBHOOK = re.compile(
    r'admission webhook "(?P<webhook>[^"]{1,300})" denied the request:? ?(?P<refused>.{0,500})', re.DOTALL
)
_MANAGER = re.compile(r'conflicts? with "([^"]{1,200})"')
_LIMIT = 500
_MANAGERS = 10


def explain_failure(failure: Failure, node: str) -> dict[str, object]:
    """Fields of a log line: `problem` in CamelCase, the server's message, and a remediation if known."""
    fields: dict[str, object] = {"status": failure.status} if failure.status else {}
    return fields | _explained(failure, node) | {"message": shown(failure.message, _LIMIT)}


def may_pass(failure: Failure) -> bool:
    """True when a retry may succeed: no answer, a server error, a rotated token (401), or 429."""
    return not 400 <= failure.status < 500 or failure.status in (401, 429)


def is_missing(failure: Failure) -> bool:
    """True when the Node does not exist; then an apply would create it, which the server forbids (403)."""
    return failure.status == 404 or _creates_node(_FORBIDDEN.search(failure.message))


def conflicting_managers(failure: Failure) -> list[str]:
    """Field managers in the message of a conflict (409); at most a few."""
    return sorted({shown(name, _LIMIT) for name in _MANAGER.findall(failure.message)})[:_MANAGERS]


def _explained(failure: Failure, node: str) -> dict[str, object]:
    if denied := _POLICY.search(failure.message):
        return {"problem": "DeniedByPolicy", **_shown(denied)}
    if denied := _WEBHOOK.search(failure.message):
        return {"problem": "DeniedByWebhook", **_shown(denied)}
    if is_missing(failure):
        return {
            "problem": "NodeNotFound",
            "node": node,
            "remediation": "NODE_NAME must be the name of the Node: spec.nodeName",
        }
    if forbidden := _FORBIDDEN.search(failure.message):
        return {"problem": "MissingPermission", **_rule(forbidden)}
    if failure.status == 409:
        return {"problem": "Conflict", "managers": conflicting_managers(failure)}
    if failure.status == 422 and "metadata.annotations: Too long" in failure.message:
        remediation = "the annotations of a Node may have 256 KiB in total: find out who else writes large ones"
        return {"problem": "TooManyAnnotations", "node": node, "remediation": remediation}
    if failure.status == 0:
        return _unanswered(failure)
    return {"problem": _PROBLEMS.get(failure.status) or ("ServerError" if failure.status >= 500 else "Refused")}


_PROBLEMS = {401: "TokenRefused", 403: "Forbidden", 413: "TooLarge", 422: "Invalid", 429: "Throttled"}


def _unanswered(failure: Failure) -> dict[str, object]:
    if failure.reason == NO_CREDENTIALS:
        return {"problem": NO_CREDENTIALS}
    if "CERTIFICATE_VERIFY_FAILED" in failure.message:
        return {
            "problem": "CertificateRefused",
            "remediation": "compare the server's certificate with the ca.crt beside the token",
        }
    return {"problem": UNREACHABLE}


def _rule(forbidden: re.Match[str]) -> dict[str, object]:
    """Missing RBAC rule, for a ClusterRole or, with a namespace, for a Role in it."""
    rule: dict[str, object] = {
        "apiGroups": [shown(forbidden["group"], _LIMIT)],
        "resources": [shown(forbidden["resource"], _LIMIT)],
        "verbs": [forbidden["verb"]],
    }
    namespace = {"namespace": shown(forbidden["namespace"], _LIMIT)} if forbidden["namespace"] else {}
    return {"missing_rule": rule, "user": shown(forbidden["user"], _LIMIT), **namespace}


def _creates_node(forbidden: re.Match[str] | None) -> bool:
    return forbidden is not None and (forbidden["verb"], forbidden["resource"]) == ("create", "nodes")


def _shown(match: re.Match[str]) -> dict[str, str]:
    return {name: shown(text, _LIMIT) for name, text in match.groupdict().items()}
