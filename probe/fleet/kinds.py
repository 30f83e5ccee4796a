"""Kinds of admission policies, and where the API server lists them."""

from __future__ import annotations

POLICY, KYVERNO = "/apis/admissionregistration.k8s.io", "/apis/policies.kyverno.io"
POLICIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "ValidatingAdmissionPolicy",
        tuple(f"{POLICY}/{version}/validatingadmissionpolicies" for version in ("v1", "v1beta1")),
    ),
    (
        "MutatingAdmissionPolicy",
        tuple(f"{POLICY}/{version}/mutatingadmissionpolicies" for version in ("v1", "v1beta1")),
    ),
    ("ClusterPolicy", ("/apis/kyverno.io/v1/clusterpolicies",)),
    ("Policy", ("/apis/kyverno.io/v1/policies",)),
    ("ValidatingPolicy", tuple(f"{KYVERNO}/{version}/validatingpolicies" for version in ("v1", "v1beta1", "v1alpha1"))),
    ("MutatingPolicy", tuple(f"{KYVERNO}/{version}/mutatingpolicies" for version in ("v1", "v1beta1", "v1alpha1"))),
    (
        "NamespacedValidatingPolicy",
        tuple(f"{KYVERNO}/{version}/namespacedvalidatingpolicies" for version in ("v1", "v1beta1")),
    ),
    (
        "NamespacedMutatingPolicy",
        tuple(f"{KYVERNO}/{version}/namespacedmutatingpolicies" for version in ("v1", "v1beta1")),
    ),
)
"""Kind -> paths of its list, of which the first that is served counts."""
BINDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "ValidatingAdmissionPolicy",
        tuple(f"{POLICY}/{version}/validatingadmissionpolicybindings" for version in ("v1", "v1beta1")),
    ),
    (
        "MutatingAdmissionPolicy",
        tuple(f"{POLICY}/{version}/mutatingadmissionpolicybindings" for version in ("v1", "v1beta1")),
    ),
)
"""Kind of the policies that they bind -> paths of their list."""
POLICY_KINDS = tuple(paths[0].rpartition("/")[2] for _, paths in POLICIES)
"""Names of the sections of the policies."""
POLICY_SECTIONS = (*POLICY_KINDS, *(paths[0].rpartition("/")[2] for _, paths in BINDINGS))
"""Those, and of their bindings."""
