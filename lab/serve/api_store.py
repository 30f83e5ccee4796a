"""What an API server does with Nodes and Events, as far as this project asks: our keys, our condition, who owns them.

Pure: a request in, a status and a document out. Held against recorded exchanges by test_serve_api_double.py. Beyond
them: lists in pages, the merge patch that deletes, the strategic merge patch, and a patch with a resourceVersion, which
follow their documentation.
"""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
OURS = "userns-probe.io/"
CONDITION = "UserNamespacesReady"
CONDITION_KEY = f'k:{{"type":"{CONDITION}"}}'
ANNOTATIONS_LIMIT = 262144
KINDS = ("annotations", "labels")
_LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

Answer = tuple[int, dict[str, Any]]


@dataclass
class Request:
    """One request, and how it was answered (0: not at all)."""

    method: str
    target: str
    content_type: str = ""
    token: str = ""
    body: bytes = b""
    status: int = 0

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def params(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}


def _copy(document: dict[str, Any]) -> dict[str, Any]:
    """The same object anew, several times as fast as copy.deepcopy makes it."""
    copied: dict[str, Any] = pickle.loads(pickle.dumps(document))
    return copied


class Refusal(Exception):
    """An answer that is a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.answer = (code, status(code, reason, message))


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    fields = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return fields | {"message": message, "reason": reason, "code": code}


@dataclass
class Store:
    """A cluster with Nodes and Events, one service account, and the rules that hold it in."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=lambda: {"token-1"})
    user: str = "system:serviceaccount:up:up"
    own_node: str = "k8slab"
    policy: str | None = "up"
    """The name of the admission policy, and of its binding."""
    denial: tuple[int, str] = (403, "Forbidden")
    """Status and reason of its refusals: `reason` of each of its validations."""
    rules: set[tuple[str, str]] = field(
        default_factory=lambda: {("get", "nodes"), ("patch", "nodes"), ("patch", "nodes/status")}
    )
    revision: int = 100
    writes: int = 0
    """Changes that were made."""

    def answer(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except Refusal as refusal:
            return refusal.answer

    def _answer(self, request: Request) -> Answer:
        if request.token not in self.tokens:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["api", "v1", "nodes"]:
                return self._list(request)
            case "GET", ["api", "v1", "nodes", name]:
                self._permit("get", "nodes", name)
                return 200, _copy(self._node(name))
            case "PATCH", ["api", "v1", "nodes", name]:
                return self._patch(request, name, "")
            case "PATCH", ["api", "v1", "nodes", name, "status"]:
                return self._patch(request, name, "status")
            case "POST", ["api", "v1", "namespaces", namespace, "events"]:
                return self._create_event(request, namespace)
        raise Refusal(404, "NotFound", "the server could not find the requested resource")

    def _permit(self, verb: str, resource: str, name: str = "", namespace: str = "") -> None:
        if (verb, resource) not in self.rules:
            kind, scope = (
                resource.split("/")[0],
                f'in the namespace "{namespace}"' if namespace else "at the cluster scope",
            )
            who = f'{kind} "{name}"' if name else kind
            denied = f'User "{self.user}" cannot {verb} resource "{resource}" in API group ""'
            raise Refusal(403, "Forbidden", f"{who} is forbidden: {denied} {scope}")

    def _node(self, name: str) -> dict[str, Any]:
        if name not in self.nodes:
            raise Refusal(404, "NotFound", f'nodes "{name}" not found')
        return self.nodes[name]

    def _list(self, request: Request) -> Answer:
        self._permit("list", "nodes")
        names, start = sorted(self.nodes), int(request.params.get("continue", 0))
        end = start + int(request.params.get("limit", len(names) or 1))
        more = {"continue": str(end)} if end < len(names) else {}
        items = [_copy(self.nodes[name]) for name in names[start:end]]
        return 200, {
            "kind": "NodeList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": "1"} | more,
            "items": items,
        }

    def _create_event(self, request: Request, namespace: str) -> Answer:
        self._permit("create", "events", namespace=namespace)
        event = json.loads(request.body)
        name = event["metadata"]["name"]
        if name in self.events:
            raise Refusal(409, "AlreadyExists", f'events "{name}" already exists')
        if (
            event["metadata"]["namespace"] != namespace
            or (event["involvedObject"].get("namespace") or "default") != namespace
        ):
            raise Refusal(422, "Invalid", "involvedObject.namespace: does not match event.namespace")
        self.events[name] = event
        self.writes += 1
        return 201, event

    def _patch(self, request: Request, name: str, subresource: str) -> Answer:
        resource = "nodes/status" if subresource else "nodes"
        self._permit("patch", resource, name)
        if request.content_type not in (APPLY, MERGE, STRATEGIC):
            raise Refusal(415, "UnsupportedMediaType", "415: Unsupported Media Type")
        manager, force = request.params.get("fieldManager", ""), request.params.get("force") == "true"
        if request.content_type == APPLY and not manager:
            invalid = (
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
            raise Refusal(422, "Invalid", invalid)
        try:
            body = yaml.load(request.body, yaml.CSafeLoader)
        except yaml.YAMLError as error:
            raise Refusal(400, "BadRequest", f"error decoding YAML: {error}") from error
        if request.content_type == APPLY and name not in self.nodes:
            self._permit("create", "nodes", name)
        old = self._node(name)
        new = _copy(old)
        version = (body.get("metadata") or {}).get("resourceVersion")
        if version not in (None, old["metadata"].get("resourceVersion")):
            modified = "the object has been modified; please apply your changes to the latest version and try again"
            raise Refusal(409, "Conflict", f'Operation cannot be fulfilled on nodes "{name}": {modified}')
        if subresource:
            patch_status(new, body, manager, request.content_type, force)
        elif request.content_type == APPLY:
            apply_metadata(new, body, manager, force)
        else:
            merge_metadata(new, body, manager or "unknown")
        self._validate(name, old, new)
        if new != old:
            self.revision += 1
            self.writes += 1
            new["metadata"]["resourceVersion"] = str(self.revision)
            self.nodes[name] = new
        return 200, _copy(new)

    def _validate(self, name: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        problems = []
        annotations, labels = (new["metadata"].get(kind, {}) for kind in KINDS)
        for key in annotations:
            prefix, _, rest = key.rpartition("/")
            if (prefix and not _PREFIX.fullmatch(prefix)) or not rest or not _LABEL.fullmatch(rest):
                problems.append(f'metadata.annotations: Invalid value: "{key}": is not a name')
        if sum(len(key.encode()) + len(text.encode()) for key, text in annotations.items()) > ANNOTATIONS_LIMIT:
            problems.append(f"metadata.annotations: Too long: may not be more than {ANNOTATIONS_LIMIT} bytes")
        problems += [
            f'metadata.labels: Invalid value: "{text}": a valid label must be an empty string or consist of '
            "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
            "(e.g. 'MyValue',  or 'my_value',  or '12345', regex "
            "used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            for text in labels.values()
            if len(text) > 63 or not _LABEL.fullmatch(text)
        ]
        if problems:
            listed = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise Refusal(422, "Invalid", f'Node "{name}" is invalid: {listed}')
        if self.policy and (denied := self._denial(name, old, new)):
            whose = f"ValidatingAdmissionPolicy '{self.policy}' with binding '{self.policy}' denied request: {denied}"
            raise Refusal(*self.denial, f'nodes "{name}" is forbidden: {whose}')

    def _denial(self, name: str, old: dict[str, Any], new: dict[str, Any]) -> str:
        if name != self.own_node:
            return "own node only"
        for kind, words in (("annotations", "own annotations only"), ("labels", "own label only")):
            before, after = old["metadata"].get(kind, {}), new["metadata"].get(kind, {})
            changed = {key for key in {**before, **after} if before.get(key) != after.get(key)}
            if any(not key.startswith(OURS) for key in changed):
                return words
        return ""


def owners(node: dict[str, Any], kind: str, key: str) -> list[str]:
    """The managers that own an annotation or a label."""
    return [
        entry["manager"]
        for entry in node["metadata"].get("managedFields", [])
        if f"f:{key}" in entry["fieldsV1"].get("f:metadata", {}).get(f"f:{kind}", {})
    ]


def condition_of(node: dict[str, Any], kind: str = CONDITION) -> dict[str, Any] | None:
    """The condition of that type."""
    return next((one for one in node["status"].get("conditions", []) if one["type"] == kind), None)


def apply_metadata(node: dict[str, Any], body: dict[str, Any], manager: str, force: bool) -> None:
    """Server-side apply of annotations and labels."""
    wanted = {kind: (body.get("metadata") or {}).get(kind) or {} for kind in KINDS}
    standing = {kind: node["metadata"].setdefault(kind, {}) for kind in KINDS}
    conflicts = [
        (other, f".metadata.{kind}.{key}")
        for kind in KINDS
        for key, text in wanted[kind].items()
        for other in owners(node, kind, key)
        if other != manager and standing[kind].get(key) != text
    ]
    if conflicts and not force:
        raise Refusal(409, "Conflict", _conflict_message(conflicts))
    before = _entry(node, manager, "Apply", "")
    owned = before["fieldsV1"].get("f:metadata", {}) if before else {}
    for kind in KINDS:
        for key, text in wanted[kind].items():
            if standing[kind].get(key) != text:
                _disown(node, kind, key, but=manager)
            standing[kind][key] = text
        for name in set(owned.get(f"f:{kind}", {})) - {f"f:{key}" for key in wanted[kind]}:
            if owners(node, kind, name[2:]) == [manager]:
                standing[kind].pop(name[2:], None)
    fields = {f"f:{kind}": {f"f:{key}": {} for key in sorted(wanted[kind])} for kind in KINDS if wanted[kind]}
    _own(node, manager, "Apply", "", {"f:metadata": fields} if fields else {})


def merge_metadata(node: dict[str, Any], body: dict[str, Any], manager: str) -> None:
    """JSON merge patch of annotations and labels."""
    for kind in KINDS:
        standing = node["metadata"].setdefault(kind, {})
        for key, text in ((body.get("metadata") or {}).get(kind) or {}).items():
            if standing.get(key) == text:
                continue
            _disown(node, kind, key)
            if text is None:
                standing.pop(key, None)
            else:
                standing[key] = text
                entry = _entry(node, manager, "Update", "")
                fields = _copy(entry["fieldsV1"]) if entry else {}
                fields.setdefault("f:metadata", {}).setdefault(f"f:{kind}", {})[f"f:{key}"] = {}
                _own(node, manager, "Update", "", fields)


def patch_status(node: dict[str, Any], body: dict[str, Any], manager: str, content_type: str, force: bool) -> None:
    """Set or remove our condition."""
    conditions = (body.get("status") or {}).get("conditions") or []
    wanted = next((one for one in conditions if one["type"] == CONDITION), None)
    if content_type == MERGE:
        raise Refusal(400, "BadRequest", "out of the double's scope: a merge patch replaces all conditions")
    if content_type == STRATEGIC:
        if wanted is None or wanted.get("$patch") != "delete":
            raise Refusal(400, "BadRequest", "out of the double's scope")
        node["status"]["conditions"] = [one for one in node["status"].get("conditions", []) if one["type"] != CONDITION]
        for entry in node["metadata"].get("managedFields", []):
            entry["fieldsV1"].get("f:status", {}).get("f:conditions", {}).pop(CONDITION_KEY, None)
        return
    entry = _entry(node, manager, "Apply", "status")
    if wanted is None:
        if entry and CONDITION_KEY in entry["fieldsV1"]["f:status"].get("f:conditions", {}):
            # As recorded: the kubelet owns fields of its conditions, not the conditions, and loses them all.
            node["status"].pop("conditions", None)
        _own(node, manager, "Apply", "status", {"f:status": {}})
        return
    standing = condition_of(node) or {}
    others = [
        one["manager"]
        for one in node["metadata"].get("managedFields", [])
        if one["manager"] != manager and CONDITION_KEY in one["fieldsV1"].get("f:status", {}).get("f:conditions", {})
    ]
    paths = [f'.status.conditions[type="{CONDITION}"].{name}' for name in wanted if standing.get(name) != wanted[name]]
    if others and paths and not force:
        raise Refusal(409, "Conflict", _conflict_message([(other, path) for other in others for path in paths]))
    full = {"lastHeartbeatTime": None, "lastTransitionTime": None, "reason": "", "message": ""} | wanted
    kept = [one for one in node["status"].get("conditions", []) if one["type"] != CONDITION]
    node["status"]["conditions"] = [*kept, full]
    if paths:
        for one in node["metadata"].get("managedFields", []):
            one["fieldsV1"].get("f:status", {}).get("f:conditions", {}).pop(CONDITION_KEY, None)
    fields = {".": {}} | {f"f:{name}": {} for name in sorted(wanted)}
    _own(node, manager, "Apply", "status", {"f:status": {"f:conditions": {CONDITION_KEY: fields}}})


def _conflict_message(conflicts: list[tuple[str, str]]) -> str:
    if len(conflicts) == 1:
        return f'Apply failed with 1 conflict: conflict with "{conflicts[0][0]}": {conflicts[0][1]}'
    lines = []
    for manager in sorted({manager for manager, _ in conflicts}):
        lines += [f'conflicts with "{manager}":', *(f"- {path}" for other, path in conflicts if other == manager)]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)


def _entry(node: dict[str, Any], manager: str, operation: str, subresource: str) -> dict[str, Any] | None:
    for entry in node["metadata"].setdefault("managedFields", []):
        if (entry["manager"], entry["operation"], entry.get("subresource", "")) == (manager, operation, subresource):
            assert isinstance(entry, dict)
            return entry
    return None


def _own(node: dict[str, Any], manager: str, operation: str, subresource: str, fields: dict[str, Any]) -> None:
    """Make *fields* all that *manager* owns by *operation*; an entry of nothing goes away."""
    entry = _entry(node, manager, operation, subresource)
    if entry is None:
        entry = {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1"}
        entry |= {"subresource": subresource} if subresource else {}
        node["metadata"]["managedFields"].append(entry)
    entry["fieldsV1"] = fields
    node["metadata"]["managedFields"] = [one for one in node["metadata"]["managedFields"] if one["fieldsV1"]]


def _disown(node: dict[str, Any], kind: str, key: str, but: str = "") -> None:
    """Take a key from all its owners; an entry that owned nothing else goes away."""
    kept = []
    for entry in node["metadata"].get("managedFields", []):
        metadata = entry["fieldsV1"].get("f:metadata", {})
        if entry["manager"] != but and metadata.get(f"f:{kind}", {}).pop(f"f:{key}", None) is not None:
            if not metadata[f"f:{kind}"]:
                del metadata[f"f:{kind}"]
            if not metadata:
                entry["fieldsV1"].pop("f:metadata")
        if entry["fieldsV1"]:
            kept.append(entry)
    node["metadata"]["managedFields"] = kept
