"""The three views of `trimtab watch`."""

import io
import json

import pytest
from rich.console import Console

from trimtab.cli.consoles import instance_table, visible
from trimtab.cli.ending import warn
from trimtab.cli.watch import JsonLines, Lines, LiveTable
from trimtab.discovery import DiscoveryState
from trimtab.instance import Instance, Snapshot, Status

A = Instance(host="10.0.0.1", port=80, id="a")
B = Instance(host="10.0.0.2", port=80, id="b", zone="west", metadata={"v": "7"})


def snapshot(*instances):
    return Snapshot(service="orders", instances=instances)


def state(**changes):
    values = {
        "service": "orders",
        "registry": "consul://r",
        "instances": 2,
        "age_s": 1.0,
        "source": "registry",
        "failures": 0,
        "last_error": "",
        "held": None,
    }
    return DiscoveryState(**{**values, **changes})


FAILING = state(failures=3, last_error="refused")


def play(view):
    with view:
        view.show(snapshot(A, B), state())
        view.show(snapshot(A.with_(status=Status.CRITICAL)), state())
        view.show(None, FAILING)
        view.show(None, FAILING)
        view.show(None, state(held=0))
        view.show(None, state())


def test_lines_show_each_change_and_each_failure_of_the_registry_once():
    console = Console(width=200, file=io.StringIO())
    play(Lines(console))
    lines = [line.split("  ", 1)[1] for line in console.file.getvalue().splitlines()]
    assert lines == [
        "+ a  10.0.0.1:80 passing weight=1",
        "+ b  10.0.0.2:80 passing weight=1 zone=west",
        "- b  10.0.0.2:80",
        "~ a  status: passing -> critical",
        "! the registry is unavailable; the last list stays in use: refused",
        "! consul://r is available again",
        "! a list of only 0 instances is held back until it is confirmed",
    ]


def test_json_lines_show_the_same(capsys):
    play(JsonLines("orders"))
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["event"] for row in rows] == [
        *("added", "added", "removed", "changed"),
        *("registry_unavailable", "registry_available", "list_held"),
    ]
    assert rows[3]["before"]["status"] == "passing"
    assert rows[3]["instance"]["status"] == "critical"
    assert rows[1]["instance"]["metadata"] == {"v": "7"}


def test_the_live_table_shows_the_list_recent_changes_and_the_state():
    console = Console(width=200, file=io.StringIO(), force_terminal=True, color_system=None)
    view = LiveTable(console)
    play(view)
    shown = console.file.getvalue()
    assert "orders  2 instances  consul://r  confirmed 1 s ago" in shown
    assert "3 failures: refused" in shown
    assert "~ a  status: passing -> critical" in shown
    assert "+ a" not in shown


def test_the_live_table_shows_lists_from_disk_and_held_back():
    console = Console(width=200, file=io.StringIO())
    console.print(LiveTable(console).picture(state(source="disk", held=0)))
    assert "from disk" in console.file.getvalue()
    assert "a list of 0 instances is held back until it is confirmed" in console.file.getvalue()


# What a registry says must not steer the terminal

EVIL = [
    "\x1b]0;title\x07",
    "\x1b[2J",
    "a\x08\x08b",
    "\r+ fine",
    "\x9b31m",
    "\u202egnp",
    "\u200b",
    "\n~ b",
    "\ud800",
]


@pytest.mark.parametrize("evil", EVIL)
def test_control_characters_are_made_visible_in_every_view(evil, capsys):
    before = Instance(
        host="h", port=1, id=f"i{evil}", zone=f"z{evil}", metadata={f"k{evil}": f"v{evil}"}
    )
    after = before.with_(zone=f"y{evil}", metadata={f"l{evil}": f"w{evil}"})
    failing = state(failures=1, last_error=f"no{evil}", service=f"s{evil}")
    texts = []
    for make in (Lines, LiveTable):
        # Without colours and movements of its own.
        console = Console(width=500, file=io.StringIO(), color_system=None, force_terminal=False)
        with make(console) as view:
            for each in (before, after):
                view.show(snapshot(each), state(service=f"s{evil}"))
            view.show(snapshot(), failing)
        texts.append(console.file.getvalue())
    console = Console(width=500, file=io.StringIO(), color_system=None)
    console.print(instance_table([before, after]))
    warn(f"entry {evil}")
    texts += [console.file.getvalue(), capsys.readouterr().err]
    for text in texts:
        assert all(each.isprintable() or each == "\n" for each in text), text
    assert visible(evil) in texts[2]


def test_text_without_control_characters_is_shown_as_it_is():
    for text in ("orders-7", "größe", "東京", "a b", ""):
        assert visible(text) == text
