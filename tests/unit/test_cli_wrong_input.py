"""Bad input: exit code 2, one line that says what and where, never a traceback, no secrets."""

import subprocess
import sys

import pytest

from trimtab.cli import main
from trimtab.cli.ending import ended
from trimtab.errors import RegistryUnavailableError

LOCAL = ("--registry", "static://127.0.0.1:9")
WRONG = [
    (["nonsense"], 'unknown command "nonsense"'),
    (["lss"], 'Did you mean "ls"?'),
    (["registry", "sevre"], 'Did you mean "serve"?'),
    (["ls", "a", "b"], "b"),
    (["ls", "--regsitry", "x"], "Did you mean --registry?"),
    (["ls", "--registry"], "--registry requires an argument"),
    (["ls", "--registry", "nowhere"], "has no scheme"),
    (["ls", "--registry", "mailto://x"], "no registry has the scheme"),
    (["ls", "--registry", "consul://h:99999"], "registry URL"),
    (["ls", "--registry", "consul://h?tokn=s3cret"], "unknown option 'tokn'"),
    (["ls", "--json=perhaps", *LOCAL], "perhaps"),
    (["watch"], "SERVICE"),
    (["watch", "orders", "--registry", "static://"], "static://"),
    (["watch", "orders", "--alert", "nonsense://x"], "alerts by nonsense://...: apprise cannot"),
    (["watch", "orders", "--alert-every", "0"], "above 0"),
    (["register"], "SERVICE"),
    (["register", "orders"], "ADDRESS"),
    (["register", "orders", "8080"], "write HOST:PORT"),
    (["register", "orders", "h:99999"], "the port must be from 1 to 65535"),
    (["register", "orders", "h:80", "--ttl", "0"], "above 0"),
    (["register", "orders", "h:80", "--ttl", "nan"], "above 0"),
    (["register", "orders", "h:80", "--weight", "-1"], "weight is -1.0"),
    (["register", "orders", "h:80", "--check", "ping"], "check 'ping': write http[s]:[PORT]/PATH"),
    (["register", "orders", "h:80", "--check", "tcp", "--check-interval", "0"], "above 0"),
    (["register", "orders", "h:80", "--check", "tcp", "--fall", "0"], "1 or more"),
    (["register", "orders", "h:80", "--weight", "heavy"], '"heavy"'),
    (["register", "orders", "h:80", "--meta", "v"], "write KEY=VALUE"),
    (["register", "orders", "h:80", "--scheme", "ftp"], "scheme is 'ftp'"),
    (["register", "orders", "h h:80"], "host is 'h h'"),
    (["register", "orders", "h:80", *LOCAL], "cannot be written to"),
    (["call"], "TARGET"),
    (["call", "/path", *LOCAL], "names no service"),
    (["call", "ftp://orders/", *LOCAL], "the scheme is 'ftp'"),
    (["call", "orders/", "-n", "0", *LOCAL], "must be 1 or more"),
    (["call", "orders/", "-n", "x", *LOCAL], '"x"'),
    (["call", "orders/", "-c", "0", *LOCAL], "must be 1 or more"),
    (["call", "orders/", "-X", "G E T", *LOCAL], "write a method"),
    (["call", "orders/", "-H", "nocolon", *LOCAL], "write 'Name: value'"),
    (["call", "orders/", "--timeout", "-1", *LOCAL], "above 0"),
    (["register", "a", "10.0.0.1:80", "--drain", "-1s", *LOCAL], "--drain"),
    (["register", "a", "10.0.0.1:80", "--drain", "soon", *LOCAL], "--drain"),
    (["register", "a", "10.0.0.1:80", "--drain", "nan", *LOCAL], "0 or more"),
    (["register", "a", "10.0.0.1:80", "--stop-timeout", "0", *LOCAL], "above 0"),
    (["call", "orders/", "--strategy", "fastest", *LOCAL], "no strategy is called 'fastest'"),
    (["call", "orders/\x00", *LOCAL], "URL"),
    (["demo", "--duration", "1"], "must be 4 or more"),
    (["demo", "--rate", "0"], "above 0"),
    (["demo", "--strategy", "x"], "no strategy is called 'x'"),
    (["demo", "--svg", "/nowhere/at/all.svg"], "there is no directory"),
    (["registry", "serve", "--port", "70000"], "from 0 (a free one) to 65535"),
    (["registry", "serve", "--port", "http"], '"http"'),
    (["registry", "serve", "--token", "a", "--token-file", "b"], "exclude each other"),
    (["registry", "serve", "--token-file", "/nowhere"], "cannot be read"),
    (["registry", "serve", "--token", "", "--port", "0"], "token is empty"),
    (["registry", "serve", "--host", "not a host", "--port", "0"], "cannot bind"),
    (["registry", "serve", "--max-body-bytes", "0"], "must be 1 or more"),
]


@pytest.mark.parametrize(
    ("argv", "expected"),
    WRONG,
    ids=[" ".join(argv).replace("\x00", "0") for argv, _ in WRONG],
)
def test_wrong_input_is_one_line_and_exit_code_2(argv, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    out, error = capsys.readouterr()
    assert not out
    assert expected in error
    assert error.startswith("trimtab: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "argv",
    [
        ["ls", "--tokne=s3cret"],
        ["registry", "serve", "--tokn=s3cret"],
        ["ls", "--registry", "consul://h:x?token=s3cret"],
        ["ls", "--registry", "consul://h?token=s3cret&dc"],
        ["ls", "orders", "consul://h?token=s3cret"],
        ["consul://h?token=s3cret"],
    ],
    ids=" ".join,
)
def test_secrets_are_not_repeated(argv, capsys):
    assert main(argv) in {1, 2}
    assert "s3cret" not in "".join(capsys.readouterr())


def test_a_registry_that_is_down_is_one_line_and_exit_code_1(capsys):
    def fail():
        raise RegistryUnavailableError("consul://r is down?token=s3cret\n  indeed")

    assert ended(fail) == 1
    assert capsys.readouterr().err == (
        "trimtab: consul://r is down?token=... indeed; "
        "check --registry, and whether the registry runs\n"
    )


def test_an_interrupt_is_quiet(capsys):
    def interrupt():
        raise KeyboardInterrupt

    assert ended(interrupt) == 130
    assert capsys.readouterr() == ("", "")


def test_an_error_without_words_is_named(capsys):
    def fail():
        raise TimeoutError

    assert ended(fail) == 1
    assert capsys.readouterr().err == "trimtab: TimeoutError\n"


@pytest.mark.parametrize("command", [[], ["--help"], ["call", "--help"], ["registry", "--help"]])
def test_help_is_shown(command, capsys):
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "Usage: trimtab" in out
    assert all(len(line) <= 100 for line in out.splitlines())


@pytest.mark.parametrize("command", ["demo", "register", "ls", "watch", "call"])
def test_every_command_has_an_example_in_its_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f" trimtab {command}" in capsys.readouterr().out.partition("Usage")[2][20:]


def test_the_version_is_shown(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


INSTALL = "which is not installed; run: pip install 'trimtab[cli]'"


def test_without_its_extra_the_command_names_the_install_command(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "trimtab.cli.app")
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    assert main(["ls"]) == 2
    assert capsys.readouterr().err == f"trimtab: the command line needs cyclopts, {INSTALL}\n"


def test_a_missing_module_of_trimtab_is_not_reported_as_a_missing_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "trimtab.cli.app")
    monkeypatch.setitem(sys.modules, "trimtab.cli.ls", None)
    with pytest.raises(ModuleNotFoundError):
        main(["ls"])


@pytest.mark.parametrize("missing", ["rich", "starlette", "uvicorn"])
def test_every_missing_package_is_named(missing):
    program = (
        f"import sys; sys.modules[{missing!r}] = None; "
        "from trimtab.cli import main; sys.exit(main(['ls']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"trimtab: the command line needs {missing}, {INSTALL}\n"
