"""What the tests know of the kernel that they run on."""

from __future__ import annotations

import pytest

from lab.real.kernel import version_of


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("7.3-amd64", (7, 3)),
        ("6.12.57+deb13-amd64", (6, 12)),
        ("5.10.0-32-amd64", (5, 10)),
        ("6.18.0-rc1", (6, 18)),
        ("7.3", (7, 3)),
    ],
)
def test_the_version_of_a_kernel_release(release: str, version: tuple[int, int]) -> None:
    """A release without a patch level has a version as well."""
    assert version_of(release) == version


@pytest.mark.parametrize("release", ["", "amd64", "7", "7-amd64", "7.amd64"])
def test_a_release_without_a_version_is_named(release: str) -> None:
    """The error quotes the release."""
    with pytest.raises(ValueError, match=f"'{release}'"):
        version_of(release)
