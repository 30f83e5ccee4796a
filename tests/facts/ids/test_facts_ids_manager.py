"""The kubelet's user namespace manager, replayed: held against a model of its own."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lab.factory import absent, make_ids, make_kubelet, unread
from probe.facts.defaults import MAX_UINT32
from probe.facts.ids.manager import (
    IdPool,
    Missing,
    Obstacle,
    find_pool,
    ignores_ids_per_pod,
    parse_getsubids,
    take_up,
)
from probe.facts.model import Mapping, PodUserns, UsernsFile
from probe.host.program import Output
from probe.reading import Reading

T = TypeVar("T")

PREFIX = "failed to run Kubelet: failed to create kubelet: create user namespace manager: "
MAPPINGS = "kubelet mappings: "
INVALID = "invalid user namespace configuration: "
BLOCK = 65536
NOW, OLD = (1, 36), (1, 32)
POOL = IdPool(first=BLOCK, count=110 * BLOCK, ids_per_pod=BLOCK, configured=True)
DEFAULT = IdPool(first=BLOCK, count=2**32 - BLOCK, ids_per_pod=BLOCK, configured=False)
DEFAULT_OF_TWO = IdPool(first=2 * BLOCK, count=2**32 - 2 * BLOCK, ids_per_pod=2 * BLOCK, configured=False)


def replay(checks: Generator[Obstacle | Missing, None, T]) -> tuple[T | None, list[Obstacle | Missing]]:
    """What the checks lead to, and what stood in the way, up to the first at which the kubelet ends."""
    found: list[Obstacle | Missing] = []
    try:
        while not found or isinstance(found[-1], Missing):
            found.append(next(checks))
    except StopIteration as end:
        return end.value, found
    return None, found


def end_of(checks: Generator[Obstacle | Missing, None, object]) -> Obstacle:
    """The check at which the kubelet ends."""
    _, found = replay(checks)
    assert isinstance(found[-1], Obstacle)
    return found[-1]


def with_range(uids: str = "0: kubelet 65536 7208960\n", gids: str | None = None) -> dict[str, object]:
    """An account whose getsubids answers so."""
    answers = {"subuids": Output(0, uids, ""), "subgids": Output(0, uids if gids is None else gids, "")}
    return {"account": True, "local_account": True, "getsubids": "/usr/bin/getsubids", **answers}


def pod(first: int, length: int = BLOCK, name: str = "pod") -> UsernsFile:
    """The file of a Pod as the kubelet writes it."""
    return file(PodUserns((Mapping(first, 0, length),), (Mapping(first, 0, length),)), name)


def file(content: PodUserns, name: str = "pod") -> UsernsFile:
    return UsernsFile(pod=name, content=Reading(f"pods/{name}/userns", content))


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("0: kubelet 65536 7208960\n", ""),
        ("\n\n0:\tkubelet\u00a065536  7208960\n\n", ""),
        (f"0: kubelet {'0' * 5000}65536 7208960\n", ""),  # more digits than Python takes
        ("0: a 1 2\n1: a 3 4\n", 'error parsing line "0: a 1 2\\n1: a 3 4\\n": it must contain only one line'),
        ("", 'invalid line ""'),
        ("0: kubelet 65536\n", 'invalid line "0: kubelet 65536\\n"'),
        ("0: ku\u200bbelet 1 2 3\n", 'invalid line "0: ku\\u200bbelet 1 2 3\\n"'),
        ("0: kubelet 4294967296 65536\n", 'error parsing line "0: kubelet 4294967296 65536\\n"'),
        ("0: kubelet -1 65536\n", 'error parsing line "0: kubelet -1 65536\\n"'),
        ("0: k 1 1_0\n", 'error parsing line "0: k 1 1_0\\n"'),
        ("0: k 1 ٣\n", 'error parsing line "0: k 1 \\u0663\\n"'),
    ],
)
def test_getsubids_gives_one_range(line: str, error: str) -> None:
    if not error:
        assert parse_getsubids(line) == (65536, 7208960)
        return
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole text is compared
        parse_getsubids(line)
    assert str(raised.value) == error


@given(st.text())
def test_any_output_is_a_range_or_a_value_error(text: str) -> None:
    for output in (text, f"0: kubelet {text} 65536\n", f"0: kubelet 1 {text}"):
        try:
            assert all(0 <= number <= MAX_UINT32 for number in parse_getsubids(output))
        except ValueError as error:
            assert str(error).startswith(("invalid line", "error parsing line"))  # noqa: PT017


@given(st.integers(0, MAX_UINT32), st.integers(0, MAX_UINT32))
def test_what_getsubids_prints_round_trips(first: int, count: int) -> None:
    assert parse_getsubids(f"0: kubelet {first} {count}\n") == (first, count)


def test_a_range_that_begins_at_zero() -> None:
    """Go takes any number of zeros in front."""
    assert parse_getsubids("0: kubelet 0 0065536\n") == (0, 65536)


@pytest.mark.parametrize(
    ("about", "settings", "words"),
    [
        (
            {"account": True, "getsubids": absent("PATH")},
            {},
            MAPPINGS + 'exec: "getsubids": executable file not found in $PATH',
        ),
        (
            with_range() | {"subuids": Output(1, "", "x")},
            {},
            MAPPINGS + 'error retrieving additional uids for user "kubelet": exit status 1',
        ),
        (
            with_range() | {"subgids": Output(1, "", "x")},
            {},
            MAPPINGS + 'error retrieving additional gids for user "kubelet"',
        ),
        (
            with_range(gids="0: kubelet 131072 7208960\n"),
            {},
            MAPPINGS + 'mismatched subuids and subgids for user "kubelet"',
        ),
        (
            with_range(gids="0: kubelet 65536 7208960"),
            {},
            MAPPINGS + 'mismatched subuids and subgids for user "kubelet"',
        ),
        (with_range("0: kubelet 1\n"), {}, MAPPINGS + 'invalid line "0: kubelet 1\\n"'),
        (with_range("0: kubelet 100000 7208960\n"), {}, "kubelet user assigned ID 100000 is not a multiple of 65536"),
        (
            with_range("0: kubelet 65536 14417920\n"),
            {"ids_per_pod": 2 * BLOCK},
            "kubelet user assigned ID 65536 is not a multiple of 131072",
        ),
        (with_range("0: kubelet 0 7208960\n"), {}, "kubelet user assigned ID 0 must be greater or equal to 65536"),
        (
            with_range("0: kubelet 65536 7208961\n"),
            {},
            "kubelet user assigned IDs length 7208961 is not a multiple of 65536",
        ),
        (with_range("0: kubelet 65536 7143424\n"), {}, "kubelet user assigned IDs are not enough to support 110 pods"),
        ({}, {"ids_per_pod": 3 * BLOCK}, "kubelet user assigned IDs length 4294770688 is not a multiple of 196608"),
        ({}, {"ids_per_pod": 1 << 31}, "kubelet user assigned IDs are not enough to support 110 pods"),
        ({}, {"max_pods": 65536}, "kubelet user assigned IDs are not enough to support 65536 pods"),
    ],
)
def test_ranges_that_the_kubelet_refuses(about: dict[str, object], settings: dict[str, object], words: str) -> None:
    """Each check in its order, with its own words."""
    end = end_of(find_pool(make_ids(**about), make_kubelet(**settings), NOW))
    assert end.words == PREFIX + words
    assert end.reason


@pytest.mark.parametrize(
    ("about", "settings", "release", "pool"),
    [
        ({}, {}, NOW, DEFAULT),
        ({}, {"ids_per_pod": 2 * BLOCK}, NOW, DEFAULT_OF_TWO),
        ({}, {"ids_per_pod": 2 * BLOCK}, (1, 34), DEFAULT),
        ({}, {"max_pods": 65535}, NOW, DEFAULT),
        (with_range(), {}, NOW, POOL),
        (
            with_range("0: kubelet 4294901760 7208960\n"),
            {},
            NOW,
            IdPool(first=4294901760, count=7208960, ids_per_pod=BLOCK, configured=True),
        ),
        (
            with_range("0: kubelet 65536 0\n"),
            {"max_pods": 0},
            NOW,
            IdPool(first=BLOCK, count=0, ids_per_pod=BLOCK, configured=True),
        ),
    ],
)
def test_ranges_that_it_takes(
    about: dict[str, object], settings: dict[str, object], release: tuple[int, int], pool: IdPool
) -> None:
    """Also one that reaches beyond 2^32, which it should not."""
    assert replay(find_pool(make_ids(**about), make_kubelet(**settings), release)) == (pool, [])


@pytest.mark.parametrize(
    ("about", "settings"),
    [
        ({"account": unread()}, {}),
        ({"account": True, "getsubids": unread()} | dict.fromkeys(("subuids", "subgids"), unread()), {}),
        (with_range() | {"subuids": unread()}, {}),
        (with_range() | {"subgids": unread()}, {}),
        (with_range(), {"max_pods": unread()}),
    ],
)
def test_what_is_not_known_is_said(about: dict[str, object], settings: dict[str, object]) -> None:
    _, found = replay(find_pool(make_ids(**about), make_kubelet(**settings), NOW))
    assert [type(one) for one in found] == [Missing]


def test_what_is_refused_is_refused_whatever_else_is_unknown() -> None:
    ids = make_ids(account=True, getsubids=absent("PATH"))
    assert end_of(find_pool(ids, make_kubelet(ids_per_pod=unread()), NOW)).cause == "getsubids"


@pytest.mark.parametrize(
    ("release", "configured", "lengths", "ignored"),
    [
        ((1, 33), 2 * BLOCK, [], True),
        ((1, 34), 2 * BLOCK, [BLOCK], True),
        ((1, 34), 2 * BLOCK, [2 * BLOCK], False),
        ((1, 34), BLOCK, [], False),
        ((1, 32), 2 * BLOCK, [], False),
        ((1, 35), 2 * BLOCK, [], False),
    ],
)
def test_versions_that_ignore_ids_per_pod(
    release: tuple[int, int], configured: int, lengths: list[int], ignored: bool
) -> None:
    """1.33 and 1.34 do, unless a Pod has the number that was asked for: then this build has the fix."""
    ids = make_ids(files=tuple(pod(2 * BLOCK, length) for length in lengths))
    assert ignores_ids_per_pod(configured, ids, release) == ignored


@pytest.mark.parametrize(
    ("files", "refusal"),
    [
        ((pod(BLOCK, 2 * BLOCK),), "wrong user namespace length 131072"),
        ((pod(BLOCK + 1),), "wrong user namespace offset specified 65537"),
        ((pod(0),), "id 0 is out of range"),
        ((pod(111 * BLOCK),), "id 7274496 is out of range"),
        ((pod(BLOCK, name="a"), pod(BLOCK)), 'range picked for pod "pod" already taken'),
        ((file(PodUserns()),), INVALID + "no more than one mapping allowed."),
        ((file(PodUserns((Mapping(),) * 2, (Mapping(),))),), INVALID + "no more than one mapping allowed."),
        ((file(PodUserns((Mapping(),), ())),), INVALID + "GID and UID mappings should be identical."),
        ((file(PodUserns((Mapping(),), (Mapping(1),))),), INVALID + "GID and UID mapping should be identical"),
        (
            (file(PodUserns((Mapping(BLOCK, 1, BLOCK),), (Mapping(BLOCK, 1, BLOCK),))),),
            INVALID + "UID 0 must be mapped",
        ),
        ((UsernsFile(pod="pod", content=unread(), malformed=True),), "invalid user namespace mappings file"),
    ],
)
@pytest.mark.parametrize(
    ("release", "before"), [(NOW, 'record pod mappings for existing pod "pod": '), (OLD, "record pod mappings: ")]
)
def test_files_that_the_kubelet_does_not_take_up(
    files: tuple[UsernsFile, ...], refusal: str, release: tuple[int, int], before: str
) -> None:
    end = end_of(take_up(POOL, files, release))
    assert (end.cause, end.words) == ("files", PREFIX + before + refusal)


def test_an_unreadable_file_is_unknown_unless_another_ends_the_kubelet() -> None:
    unread_file = UsernsFile(pod="a", content=unread())
    assert replay(take_up(POOL, (unread_file, pod(BLOCK)), NOW)) == (None, [Missing(unread_file.content)])
    assert end_of(take_up(POOL, (unread_file, pod(0)), NOW)).cause == "files"


pools = st.builds(
    lambda unit, first, slots: IdPool(
        first=first * unit * BLOCK, count=slots * unit * BLOCK, ids_per_pod=unit * BLOCK, configured=True
    ),
    st.integers(1, 5),
    st.integers(1, 1000),
    st.integers(1, 300),
)


@given(st.data(), pools)
def test_what_a_kubelet_gave_out_it_takes_up_again(data: st.DataObject, pool: IdPool) -> None:
    """Any choice of different slots, in any order of Pods."""
    slots = data.draw(st.lists(st.integers(0, pool.slots - 1), unique=True))
    files = tuple(pod(pool.first + slot * pool.ids_per_pod, pool.ids_per_pod, str(slot)) for slot in slots)
    assert replay(take_up(pool, files, NOW)) == (len(slots), [])


@given(st.data(), pools)
def test_one_corrupt_file_ends_it_with_the_exact_error(data: st.DataObject, pool: IdPool) -> None:
    """The corrupt one stands anywhere among good ones; of each corruption the kubelet's words are known."""
    length = pool.ids_per_pod
    slots = data.draw(st.lists(st.integers(0, pool.slots - 1), unique=True, min_size=1))
    files = [pod(pool.first + slot * length, length, f"{index:04}") for index, slot in enumerate(slots)]
    index = data.draw(st.integers(0, len(files) - 1))
    mapping = files[index].content.value.uid_mappings[0]  # type: ignore[union-attr]
    match data.draw(st.sampled_from(["length", "offset", "range", "taken"])):
        case "length":
            bad = data.draw(st.integers(0, MAX_UINT32).filter(lambda number: number != length))
            files[index] = pod(mapping.host_id, bad, f"{index:04}")
            words = f"wrong user namespace length {bad}"
        case "offset":
            bad = mapping.host_id + data.draw(st.integers(1, length - 1))
            files[index] = pod(bad, length, f"{index:04}")
            words = f"wrong user namespace offset specified {bad}"
        case "range":
            unit = data.draw(st.integers(0, MAX_UINT32 // length))
            assume(not pool.first <= unit * length < pool.end)
            files[index] = pod(unit * length, length, f"{index:04}")
            words = f"id {unit * length} is out of range"
        case _:
            files.append(pod(mapping.host_id, length, "9999"))
            index, words = 9999, 'range picked for pod "9999" already taken'
    end = end_of(take_up(pool, tuple(files), NOW))
    assert end.words == f'{PREFIX}record pod mappings for existing pod "{index:04}": {words}'


@given(pools)
def test_a_full_pool_has_no_room(pool: IdPool) -> None:
    files = [pod(pool.first + slot * pool.ids_per_pod, pool.ids_per_pod, str(slot)) for slot in range(pool.slots)]
    assert replay(take_up(pool, tuple(files), NOW)) == (pool.slots, [])
    assert "out of range" in end_of(take_up(pool, (*files, pod(pool.end, pool.ids_per_pod, "more")), NOW)).words
