"""Bill of materials of the image in CycloneDX: the Python packages of its environment, and Debian's packages."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from probe import __version__

SITE_PACKAGES = "opt/userns-probe/lib/python*/site-packages"
STATUS = "var/lib/dpkg/status"


def bill(root: Path, made_at: datetime) -> str:
    """The bill as JSON of the image whose files lie below *root*; the same files and time give the same bytes."""
    bom = Bom()
    bom.metadata.timestamp = made_at.astimezone(UTC)
    image = Component(name="userns-probe", version=__version__, type=ComponentType.CONTAINER, bom_ref="image")
    bom.metadata.component = image
    bom.components.update(python_packages(root))
    bom.components.update(debian_packages(root))
    bom.register_dependency(image, bom.components)
    content = "\n".join(sorted(str(component.purl) for component in bom.components))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, content)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def python_packages(root: Path) -> Iterator[Component]:
    """Each distribution of the environment, with the licence that it declares."""
    for package in distributions(path=[str(path) for path in root.glob(SITE_PACKAGES)]):
        name = package.metadata["Name"]
        yield _component(
            name, package.version, PackageURL("pypi", None, name.lower(), package.version), _licence(package)
        )


def debian_packages(root: Path) -> Iterator[Component]:
    """Each package that dpkg counts as installed; their licences lie in /usr/share/doc, which the image leaves out."""
    for paragraph in (root / STATUS).read_text().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.split("\n") if line[:1].strip() and ": " in line)
        if fields.get("Status") != "install ok installed":
            continue
        name, version = fields["Package"], fields["Version"]
        yield _component(name, version, PackageURL("deb", "debian", name, version, {"arch": fields["Architecture"]}))


def _component(name: str, version: str, purl: PackageURL, licence: str = "") -> Component:
    licences = [LicenseFactory().make_from_string(licence)] if licence else []
    kind = ComponentType.LIBRARY
    return Component(name=name, version=version, type=kind, purl=purl, bom_ref=str(purl), licenses=licences)


def _licence(package: Distribution) -> str:
    """The SPDX expression of PEP 639, the older field where it is no whole text, or the classifier; else empty."""
    told = package.metadata
    classifiers = [each.rpartition(" :: ")[2] for each in told.get_all("Classifier") or () if "License ::" in each]
    candidates = (told.get("License-Expression"), told.get("License"), *classifiers)
    return next((each for each in candidates if each and "\n" not in each), "")
