"""What differs between two lists."""

from trimtab.discovery.changes import changes
from trimtab.instance import Instance, Status

A = Instance(host="10.0.0.1", port=80, id="a")
B = Instance(host="10.0.0.2", port=80, id="b", zone="west", weight=2.5)


def test_equal_lists_have_no_changes():
    assert changes([A, B], [B, A]) == []


def test_what_came_and_went_is_listed_with_removals_first():
    found = changes([A], [B])
    assert [(change.kind, change.instance) for change in found] == [("removed", A), ("added", B)]
    assert [str(change) for change in found] == [
        "- a  10.0.0.1:80",
        "+ b  10.0.0.2:80 passing weight=2.5 zone=west",
    ]


def test_a_change_says_from_what_to_what():
    worse = A.with_(status=Status.CRITICAL, weight=3, metadata={"v": "2"})
    (change,) = changes([A], [worse])
    assert change.kind == "changed"
    assert change.before == A
    assert str(change) == (
        "~ a  weight: 1 -> 3, metadata: {} -> {'v': '2'}, status: passing -> critical"
    )
