"""Facts that one process hands to another."""

from __future__ import annotations

from msgspec.structs import replace

from lab.factory import make_facts
from probe.facts.handover import pack, unpack
from probe.reading import Reading


def test_lone_surrogates_are_escaped() -> None:
    """No output can encode a byte that is not UTF-8, which any name on the node may have."""
    facts = replace(make_facts(), distribution=Reading("/etc/os-\udcffrelease", "deb\udc80ian"))
    found = unpack(pack(facts))
    assert found == replace(facts, distribution=Reading("/etc/os-\\udcffrelease", "deb\\udc80ian"))


def test_other_facts_stay_as_they_are() -> None:
    """Also what is not ASCII."""
    facts = replace(make_facts(), distribution=Reading("/etc/os-release", "Línux"))
    assert unpack(pack(facts)) == facts
