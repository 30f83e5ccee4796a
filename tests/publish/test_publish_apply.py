"""Which half of the Node has to be written, and when."""

from __future__ import annotations

import pytest

from probe.publish.apply import Half, write_status


@pytest.mark.parametrize(
    ("in_sync", "is_retracted", "refresh", "left_behind", "due"),
    [
        (True, False, False, False, False),
        (True, False, True, False, True),
        (True, True, True, False, False),
        (True, True, True, True, False),
        (False, False, False, False, True),
        (False, True, False, False, True),
        (False, True, False, True, False),
        (False, True, True, True, True),
    ],
)
def test_when_a_half_of_the_node_is_due(
    in_sync: bool, is_retracted: bool, refresh: bool, left_behind: bool, due: bool
) -> None:
    """After a change at once, and with each refresh; what may not be removed waits for one, unless it is gone."""
    half = Half("status", write_status, in_sync, is_retracted)
    assert half.is_due(refresh=refresh, left_behind=left_behind) is due
