"""Tables in narrow terminals: every cell is shown, and none is broken."""

import io

import pytest
from rich.console import Console

from trimtab.cli.consoles import Fitted, counted, instance_table, plain_table
from trimtab.instance import Instance

POD = "web-frontend-7d9f8b6c5-abcde"
ROWS = [
    Instance(host="10.123.123.123", port=18080, id=POD, zone="eu-central-1a", weight=2.5),
    Instance(host=f"{POD}.shop.example", port=8080, id="b", metadata={"version": "7", "a": "b"}),
]


def shown(renderable, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [50, 60, 80, 100, 200])
def test_no_value_is_broken_or_lost(width):
    text = shown(instance_table(ROWS), width)
    for value in (POD, "10.123.123.123:18080", f"{POD}.shop.example:8080", "eu-central-1a", "2.5"):
        assert value in text
    assert "version=7" in text
    assert "passing" in text
    assert max(map(len, text.splitlines())) <= width


def test_a_table_that_fits_stays_one():
    lines = shown(instance_table([Instance(host="10.0.0.1", port=80, id="a")]), 80).splitlines()
    assert lines[0].split() == [
        "INSTANCE",
        "ADDRESS",
        "STATUS",
        "WEIGHT",
        "ZONE",
        "PRIORITY",
        "METADATA",
    ]
    assert len(lines) == 2


def test_headings_give_way_before_cells_do():
    table = plain_table("INSTANCE", "ALL HEALTHY", "ONE KILLED", "P50 ms")
    table.add_row("orders-1", "14.2%", "-", "20.3")
    lines = shown(Fitted(table), 36).splitlines()
    assert lines[-1].split() == ["orders-1", "14.2%", "-", "20.3"]
    assert "HEALTHY" in lines[1]


@pytest.mark.parametrize(("number", "wanted"), [(0, "0 hits"), (1, "1 hit"), (2000, "2,000 hits")])
def test_one_thing_is_not_several(number, wanted):
    assert counted(number, "hit") == wanted
