"""Flags override the environment, which overrides the file."""

import json

import pytest

from trimtab.cli import main


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("TRIMTAB_REGISTRY", "TRIMTAB_CONFIG", "TRIMTAB_STRATEGY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def listed(capsys):
    """Return the address that `trimtab ls orders` finds; it shows which registry was used."""

    def listed(*flags):
        assert main(["ls", "orders", "--json", *flags]) == 0
        return json.loads(capsys.readouterr().out)[0]["host"]

    return listed


def write(path, text):
    path.write_text(text)
    return str(path)


def test_a_flag_overrides_the_environment_which_overrides_the_file(tmp_path, monkeypatch, listed):
    path = write(tmp_path / "other.toml", 'registry = "static://10.0.0.1:80"')
    assert listed("--config", path) == "10.0.0.1"
    monkeypatch.setenv("TRIMTAB_REGISTRY", "static://10.0.0.2:80")
    assert listed("--config", path) == "10.0.0.2"
    assert listed("--config", path, "--registry", "static://10.0.0.3:80") == "10.0.0.3"


def test_the_file_may_be_named_by_the_environment(tmp_path, monkeypatch, listed):
    path = write(tmp_path / "other.toml", 'registry = "static://10.0.0.4:80"')
    monkeypatch.setenv("TRIMTAB_CONFIG", path)
    assert listed() == "10.0.0.4"


def test_the_file_in_the_working_directory_is_read_by_itself(tmp_path, listed):
    write(tmp_path / "trimtab.toml", 'registry = "static://10.0.0.5:80"')
    assert listed() == "10.0.0.5"
    other = write(tmp_path / "other.toml", 'registry = "static://10.0.0.6:80"')
    assert listed("--config", other) == "10.0.0.6"


def test_a_commands_table_overrides_the_top_of_the_file(tmp_path, listed):
    write(
        tmp_path / "trimtab.toml",
        'registry = "static://10.0.0.7:80"\n[ls]\nregistry = "static://10.0.0.8:80"\n'
        '[serve]\nport = 0\ndata-dir = "x"\n[demo]\nrate = 250',
    )
    assert listed() == "10.0.0.8"


def test_an_option_of_one_command_has_its_own_variable(monkeypatch, capsys):
    monkeypatch.setenv("TRIMTAB_LS_JSON", "true")
    assert main(["ls", "orders", "--registry", "static://10.0.0.9:80"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["host"] == "10.0.0.9"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('registri = "x"', "unknown key 'registri'; did you mean 'registry'?"),
        ("[cal]\ncount = 1", "unknown key 'cal'; did you mean 'call'?"),
        ("[call]\ncuont = 1", "unknown key 'cuont' in [call]; did you mean 'count'?"),
        ("[demo]\nzzz = 1", "unknown key 'zzz' in [demo]; known are duration, json, rate"),
        ("[ls]\nconfig = 'x'", "unknown key 'config' in [ls]"),
        ("call = 1", "'call' must be a table: write [call]"),
        ("a = ", "the configuration file is not valid TOML"),
        ("registry = 'nothing'", "registry URL 'nothing' has no scheme"),
    ],
)
def test_an_error_in_the_file_names_the_file(tmp_path, capsys, text, expected):
    path = write(tmp_path / "bad.toml", text)
    assert main(["ls", "--config", path]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert "registry URL" in error or path in error
    assert error.count("\n") == 1


def test_a_value_of_the_wrong_type_is_named_with_the_file(tmp_path, capsys):
    path = write(tmp_path / "bad.toml", '[call]\ncount = "many"')
    assert main(["call", "orders/", "--config", path]) == 2
    error = capsys.readouterr().err
    assert "count" in error
    assert path in error


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, capsys, name):
    assert main(["ls", "--config", str(tmp_path / name)]) == 2
    assert "the configuration file cannot be read" in capsys.readouterr().err
