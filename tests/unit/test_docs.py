"""What the documents say is so: options and their defaults, names, links, code, command lines."""

import ast
import contextlib
import inspect
import io
import re
import shlex
from collections.abc import Collection
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from random import Random

import pytest

import trimtab
from trimtab import RetryPolicy, alerts, networks
from trimtab.calls import FAILURES
from trimtab.cli.app import make_app
from trimtab.errors import ConfigurationError
from trimtab.health import Reason
from trimtab.registries import connect, connecting
from trimtab.registries.urls import TLS_OPTIONS
from trimtab.strategies import client_side_weighted_round_robin as by_reports
from trimtab.strategies import resolve, weighted_least_request
from trimtab.strategies.table import BUILT_IN
from trimtab_sim.cli.app import make_app as make_sim_app

ROOT = Path(__file__).parents[2]
DOCS = {page.stem: page.read_text(encoding="utf-8") for page in sorted(ROOT.glob("docs/*.md"))}
PAGES = {
    page: page.read_text(encoding="utf-8")
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
}
NAMESPACE = {
    "Balancer.call": trimtab.Balancer.call,
    **{name: getattr(trimtab, name) for name in trimtab.__all__},
    **{name: getattr(alerts, name) for name in alerts.__all__},
    "ClientSideWeightedRoundRobin": by_reports.ClientSideWeightedRoundRobin,
    "WeightedLeastRequest": weighted_least_request.WeightedLeastRequest,
}
NOT_SETTINGS = {
    *("Alert", "CallInfo", "DiscoveryState", "Instance", "InstanceChanged", "MemberStatistics"),
    *("PoolStatistics", "RegistryChanged", "ServiceChanged", "Snapshot"),
}
"""Values that the library makes, and people read."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n(?:\n```output\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
TICKED = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

INLINE = TICKED.findall("".join(FENCE.sub("", text) for text in PAGES.values()))
TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


NEED_SERVERS = {"balancer"}
"""Pages whose blocks run in tests/integration."""


def blocks(*languages):
    return [
        pytest.param(code, output, id=f"{page}-{number}")
        for page, text in DOCS.items()
        if not ("python" in languages and page in NEED_SERVERS)
        for number, (language, code, output) in enumerate(FENCE.findall(text))
        if language in languages
    ]


def tables():
    """Each table of the documents: its page, its header and its rows, as cells."""
    for page, text in DOCS.items():
        for chunk in re.findall(r"(?:^\|.*\n)+", FENCE.sub("", text), re.MULTILINE):
            head, _, *rows = [
                [cell.strip() for cell in line.strip("|").split("|")] for line in chunk.splitlines()
            ]
            yield page, head, rows


def columns(is_wanted):
    """Columns of defaults by heading: for each row, the names of the settings, and the cell."""
    found = {}
    for _, head, rows in tables():
        for place, heading in enumerate(head[1:], start=1):
            name = TICKED.fullmatch(heading)
            if name and is_wanted(name[1]):
                given = [(TICKED.findall(row[0]), row[place]) for row in rows]
                found.setdefault(name[1], []).extend(each for each in given if each[1] != "-")
    return found


CLASSES = columns(NAMESPACE.__contains__)
SCHEMES = columns(lambda heading: heading.endswith("://"))


# Settings of classes and functions


def settings_of(made):
    """The settings that a class or a function takes, each with its default."""
    if is_dataclass(made):
        return {
            each.name: each.default if each.default_factory is MISSING else each.default_factory
            for each in fields(made)
            if each.init
        }
    parameters = inspect.signature(made).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


@pytest.mark.parametrize("name", CLASSES)
def test_tables_name_exactly_the_settings(name):
    told = [each for names, _ in CLASSES[name] for each in names]
    assert sorted(told) == sorted(settings_of(NAMESPACE[name]))


@pytest.mark.parametrize("name", CLASSES)
def test_tables_name_the_defaults(name):
    defaults = settings_of(NAMESPACE[name])
    for names, cell in CLASSES[name]:
        wanted = [defaults[each] for each in names]
        if cell == "required":
            assert wanted == [MISSING] * len(names), names
        elif cell == "drawn":
            assert all(map(callable, wanted)), names
        else:
            said = [eval(each, {}) for each in TICKED.findall(cell)]
            assert list(map(_plain, said)) == list(map(_plain, wanted)), names


def _plain(value):
    if isinstance(value, Collection) and not isinstance(value, str | tuple):
        return frozenset(value)
    return (type(value), value) if isinstance(value, bool) else value


def test_every_class_of_settings_has_its_table():
    classes = {name for name, made in NAMESPACE.items() if is_dataclass(made)}
    assert classes - NOT_SETTINGS == {name for name in CLASSES if name in classes}


# URLs of registries


def schemes():
    return [pytest.param(scheme, id=scheme.partition(":")[0]) for scheme in SCHEMES]


def url_of(scheme, *options):
    """A URL of the scheme with these options, and what it needs besides."""
    needed = ["port=80"] if scheme == "dns+a://" and "port" not in str(options) else []
    where, mark = {
        "file://": ("/services.json", "?"),
        "https://": ("h/{service}", "#"),
        "static://": ("h:1", ";"),
    }.get(scheme, ("h:1/x", "?"))
    query = "&".join([*needed, *options])
    return f"{scheme}{where}{mark}{query}" if query else f"{scheme}{where}"


@pytest.mark.parametrize("scheme", schemes())
def test_tables_name_exactly_the_options_of_a_scheme(scheme):
    with pytest.raises(ConfigurationError, match=r"nonsense.*known are") as caught:
        connect(url_of(scheme, "nonsense=1"))
    known = str(caught.value).partition("known are ")[2].split(", ")
    told = [each for names, _ in SCHEMES[scheme] for each in names]
    assert sorted(told) == sorted(known)


WRITTEN = {"url", "key"}
"""What holds the URL as it was written, and so differs where nothing else does."""


def insides(made, *, depth=4):
    """What a registry was made of, as far as it is plain values; not how it was written down."""
    if isinstance(made, str | int | float | bool | tuple | list | frozenset | None):
        return made
    if not depth or not type(made).__module__.startswith("trimtab"):
        return type(made).__name__
    made = getattr(made, "settings", made)
    names = [each.name for each in fields(made)] if is_dataclass(made) else [*vars(made)]
    found = {each: insides(getattr(made, each), depth=depth - 1) for each in names}
    return type(made).__name__, {
        name: value
        for name, value in found.items()
        if not (name in WRITTEN and isinstance(value, str))
    }


@pytest.mark.parametrize("scheme", schemes())
def test_tables_name_the_defaults_of_options(scheme):
    plain = insides(connect(url_of(scheme)))
    for names, cell in SCHEMES[scheme]:
        said = [] if "](" in cell else TICKED.findall(cell)
        assert len(said) in {0, len(names)}, names
        for name, value in zip(names, said, strict=False):
            assert insides(connect(url_of(scheme, f"{name}={value}"))) == plain, name
            for other in another(value):
                assert insides(connect(url_of(scheme, f"{name}={other}"))) != plain, name


def another(value):
    """Values that are not the default, where that can be told from the default."""
    if value == "false":
        return []  # A flag may change the kind of registry, or need others beside it.
    if re.fullmatch(r"\d+(ms|s|m)", value):
        return ["7s"]
    return ["7"] if value.isdecimal() else []


def test_every_scheme_has_its_place():
    headings = {scheme.removesuffix("://") for scheme in SCHEMES}
    for scheme in connecting._BUILT_IN:
        assert f"`{scheme}://`" in DOCS["registries"]
        assert scheme in headings or scheme == "http" or scheme.removesuffix("+https") in headings
        assert f"{scheme}://" in trimtab.registries.__doc__
    assert set(TLS_OPTIONS) == {"ca", "cert", "key", "verify"}


@pytest.mark.parametrize("scheme", ["eureka", "nacos", "kubernetes"])
def test_what_was_not_tried_on_a_real_server_says_so(scheme):
    said = "ested against recorded answers, not a real server"
    section = DOCS["registries"].partition(f"\n## {scheme}\n")[2].partition("\n## ")[0]
    assert f"**T{said}.**" in section
    row = next(line for line in DOCS["registries"].splitlines() if line.startswith(f"| [`{scheme}"))
    assert said[len("ested against ") :] in row


# Strategies


def test_every_strategy_has_its_section_and_its_line():
    names = set(BUILT_IN)
    sections = {
        each for each in HEADING.findall(DOCS["strategies"]) if "_" in each or each == "random"
    }
    assert sections | {"maglev"} == names
    for name in names:
        assert f"| [`{name}`](#{name})" in DOCS["strategies"]


def test_texts_of_strategies_can_be_read():
    texts = re.findall(r'strategy="([^"]+)"', "".join(DOCS.values()))
    assert len(texts) >= 4
    for text in texts:
        resolve(text)


# Ejection, networks, reasons


def limits():
    (table,) = [(head, rows) for _, head, rows in tables() if head[0] == "settings"]
    head, rows = table
    return [
        pytest.param(TICKED.findall(row[0])[0], int(count), int(cell), id=f"{row[0]}-{count}")
        for row in rows
        for count, cell in zip(head[1:], row[1:], strict=True)
    ]


@pytest.mark.parametrize(("text", "count", "most"), limits())
def test_so_many_can_be_ejected(text, count, most):
    detector = eval(text, dict(NAMESPACE)).detector(Random(1))
    ids = [str(number) for number in range(count)]
    detector.update(ids, 0.0)
    for id_ in ids:
        for _ in range(200):
            detector.note(id_, 503, 1.0)
    detector.sweep(detector.next_at)
    assert sum(detector.ejected(id_) is not None for id_ in ids) == most


def test_refused_networks():
    (rows,) = [rows for _, head, rows in tables() if head[0] == "network"]
    told = [(TICKED.fullmatch(network)[1], what) for network, what in rows]
    assert told == [(str(network), what) for network, what in networks._REFUSED]


def test_every_kind_of_failure_has_its_row():
    (rows,) = [rows for page, head, rows in tables() if (page, head[0]) == ("balancer", "kind")]
    told = {TICKED.fullmatch(kind)[1]: (counts, again) for kind, _, counts, again in rows}
    assert set(told) == FAILURES
    never, usual = {kind for kind, (_, again) in told.items() if again == "no"}, RetryPolicy()
    assert never == {"caller", "unknown"}
    assert set(usual.failures) == FAILURES - never - {"timeout"}
    assert {kind for kind, (counts, _) in told.items() if counts == "no"} == {
        "caller",
        "unprocessed",
    }


def test_every_reason_is_told():
    told = TICKED.findall(DOCS["resilience"].partition("## Figures")[2])
    assert {str(reason) for reason in Reason} <= set(told)
    assert {each.name for each in fields(trimtab.MemberStatistics)} - {"id", "address"} <= set(told)


# Links, code, command lines


def anchors_of(text):
    titles = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCE.sub("", PAGES[page])):
        where, _, anchor = link.partition("#")
        if "://" in where:
            continue
        target = (page.parent / where).resolve() if where else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize(("code", "output"), blocks("python"))
def test_blocks_run_and_print_what_they_say(code, output):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs", "exec"), {"__name__": "docs"})
    assert output
    assert printed.getvalue() == output


@pytest.mark.parametrize(("code", "output"), blocks("py"))
def test_the_other_blocks_are_python_too(code, output):
    compile(code, "docs", "exec", TOP_LEVEL_AWAIT)
    assert not output


def test_each_page_has_code_and_no_other_language():
    known = {"python", "py", "text", "sh", "toml", "yaml", "hcl"}
    assert {language for text in DOCS.values() for language, _, _ in FENCE.findall(text)} <= known
    assert len(blocks("python")) >= 4


def calls():
    """Each call in the code, and in the text, of what the library has: its name and keywords."""
    code = [
        code for text in PAGES.values() for kind, code, _ in FENCE.findall(text) if "py" in kind
    ]
    for text in [*code, *(each for each in INLINE if re.match(r"\w+\(", each))]:
        with contextlib.suppress(SyntaxError):
            tree = compile(text, "docs", "exec", ast.PyCF_ONLY_AST | TOP_LEVEL_AWAIT)
            yield from (
                (node.func.id, [each.arg for each in node.keywords])
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            )


def test_calls_name_arguments_that_exist():
    seen = 0
    for name, given in calls():
        if name in NAMESPACE:
            known = inspect.signature(NAMESPACE[name]).parameters
            assert set(given) <= set(known), name
            seen += len(given)
    assert seen > 20


# Command lines


def command_lines(program):
    """The command lines of the pages, without their comments."""
    return [
        line.partition("  #")[0].rstrip()
        for text in PAGES.values()
        for language, code, _ in FENCE.findall(text)
        if language == "sh"
        for line in code.splitlines()
        if line.startswith(f"{program} ")
    ]


def parsed(words):
    return make_app().parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("line", command_lines("trimtab"))
def test_command_lines_are_understood(line):
    command, *_ = parsed(shlex.split(line)[1:])
    assert command.__name__ == line.split()[2 if " registry " in line else 1]


def test_commands_in_the_text_and_their_flags_are_understood():
    app = make_app()
    # What follows `--` is another program's.
    named = [each.partition(" -- ")[0].split() for each in INLINE if each.startswith("trimtab ")]
    assert len(named) > 5
    for _, *words in named:
        command = app[words[0]][words[1]] if words[0] == "registry" else app[words[0]]
        known = {name for each in command.assemble_argument_collection() for name in each.names}
        assert {word for word in words if word.startswith("--")} <= known | {"--help"}


def test_commands_of_the_simulator_exist():
    # By name alone: their modules take seconds to import.
    named = command_lines("trimtab-sim") + [each for each in INLINE if "trimtab-sim " in each]
    assert len(named) > 3
    assert {line.split()[1] for line in named} <= set(make_sim_app())
