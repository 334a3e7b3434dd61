"""The project's own files: what the wheel holds, that the checks catch what they should, what `make` says."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from support.forks import programs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGED = ("pit_join", "macros", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore")


def run(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | environment
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300, check=False)


def build(source: Path, archive: str) -> Path:
    """Build an archive of `source` as pip would, but with the installed hatchling: no network."""
    code = f"from hatchling.build import build_{archive} as build; print(build('dist'))"
    result = run([sys.executable, "-c", code], source)
    assert result.returncode == 0, result.stderr
    return source / "dist" / result.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the archives are made of, in a directory of its own; symlinks stay symlinks."""
    directory = tmp_path_factory.mktemp("source")
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, directory / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, directory / name)
    return directory


def assert_wheel_holds_macros_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names)), "a file is in the wheel twice"
    package = "pit_join/dbt_package/"
    macros = {package + path.relative_to(ROOT).as_posix() for path in (ROOT / "macros").rglob("*") if path.is_file()}
    assert macros
    assert {name for name in names if name.startswith(package)} == macros | {package + "dbt_project.yml"}
    # all else is Python, and the parts of the page that `pit-join report` writes: nothing of the demo project
    others = [name for name in names if not name.startswith((package, "pit_join-0.1.0.dist-info/"))]
    assert "pit_join/py.typed" in others
    assets = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pit_join/report/assets").iterdir()}
    assert {name for name in others if not re.fullmatch(r"pit_join/([\w/]+\.py|py\.typed)", name)} == assets


def test_wheel_holds_the_macros_and_nothing_else_of_the_dbt_project(source: Path) -> None:
    assert_wheel_holds_macros_only(build(source, "wheel"))


def test_wheel_from_the_sdist_is_the_same(source: Path, tmp_path: Path) -> None:
    sdist = build(source, "sdist")
    with tarfile.open(sdist) as archive:
        assert [member.name for member in archive if member.issym()] == []
    # the command: `extractall` wants a filter since Python 3.12, and Debian's 3.11 has none
    assert run(["tar", "-xf", str(sdist), "-C", str(tmp_path)], tmp_path).returncode == 0
    (unpacked,) = tmp_path.iterdir()
    assert_wheel_holds_macros_only(build(unpacked, "wheel"))


def test_dbt_package_has_the_version_of_the_python_package() -> None:
    package = yaml.safe_load((ROOT / "pit_join/dbt_package/dbt_project.yml").read_text())
    assert f'\nversion = "{package["version"]}"\n' in (ROOT / "pyproject.toml").read_text()


MODEL = "{{ config(materialized='table') }}\nselect 1 as user_id, timestamp '2026-03-01' as event_timestamp\n"
MODELS_YAML = """\
models:
  - name: user_activity
    config:
      event_time: event_timestamp
      contract: {enforced: true}
      meta:
        pit_join: {entity: user, join_keys: [user_id], ttl: 30 days}
    columns:
      - {name: user_id, data_type: integer, config: {meta: {pit_join: {default: 0}}}}
      - {name: event_timestamp, data_type: timestamp}
exposures:
  - name: churn_v1
    type: ml
    owner: {name: Growth ML}
    depends_on: [ref('user_activity')]
    config: {meta: {pit_join: {features: ["user_activity:*", {view: user_activity, as: other}]}}}
"""
PROFILE = "demo: {target: dev, outputs: {dev: {type: duckdb, path: demo.duckdb}}}\n"


def strict_parse(directory: Path, model: str, models_yaml: str) -> subprocess.CompletedProcess[str]:
    (directory / "models").mkdir()
    (directory / "profiles").mkdir()
    (directory / "dbt_project.yml").write_text("name: demo\nversion: 1.0.0\nprofile: demo\n")
    (directory / "profiles/profiles.yml").write_text(PROFILE)
    (directory / "models/user_activity.sql").write_text(model)
    (directory / "models/models.yml").write_text(models_yaml)
    return run([str(programs() / "python"), str(ROOT / "scripts/strict_parse.py"), str(directory)], directory)


def test_strict_parse_passes_what_the_design_allows(tmp_path: Path) -> None:
    result = strict_parse(tmp_path, MODEL, MODELS_YAML)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dbt_project.yml", "models", "profiles"]


def test_strict_parse_reports_every_planted_key(tmp_path: Path) -> None:
    planted = MODELS_YAML
    for place, key in [
        ("models:\n", "feature_views: []\n"),
        ("    config:\n      event_time", "    pit_join_ttl: 30 days\n"),
        ("      event_time:", "      my_lag: 6 hours\n"),
        ("    type: ml\n", "    features: [a]\n"),
    ]:
        assert planted.count(place) == 1
        planted = planted.replace(place, key + place)
    result = strict_parse(tmp_path, MODEL.replace("'table'", "'table', my_option=1"), planted)
    assert result.returncode == 1
    for key in ("pit_join_ttl", "my_lag", "features", "feature_views", "my_option"):
        assert re.search(rf"\bkey\s+`?{key}\b", result.stderr), (key, result.stderr)


def check_files(*paths: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, str(ROOT / "scripts/check_files.py"), *map(str, paths)], ROOT)


def test_no_file_of_the_project_has_a_host_a_machine_path_or_stray_whitespace() -> None:
    result = check_files()
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "https://" + "pypi" + ".org/simple",
        "curl files." + "pythonhosted" + ".org",
        "--extra" + "-index-url x",
        "cd /" + "root/project",
        "path: '/" + "home/me/x'",
        "trailing ",
        "\ttab at the end\t",
        "windows\r",
        "<" * 7 + " HEAD",
    ],
)
def test_the_file_check_finds(line: str, tmp_path: Path) -> None:
    (tmp_path / "bad.md").write_bytes(f"first\n{line}\n".encode())
    result = check_files(tmp_path / "bad.md")
    assert result.returncode == 1
    assert "bad.md:2: " in result.stderr


def test_the_file_check_passes_innocent_lines(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("docs/tmp/x, https://example.com/work/y, target/home/z, n/work/m\n")
    result = check_files(tmp_path / "good.md")
    assert result.returncode == 0, result.stderr


def check_words(*paths: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, str(ROOT / "scripts/check_words.py"), *map(str, paths)], ROOT)


def test_no_text_of_the_project_makes_a_native_reader_stumble() -> None:
    result = check_words()
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[1]) > 150


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("bad.md", "first\nthis is " + "none of ours", "bad.md:2: write 'is not a ...'"),
        ("bad.md", "first\nit is " + "no list", "bad.md:2: write 'is not a ...'"),
        ("bad.py", "x = 1\n# for who" + "ever waits", "bad.py:2: name the reader"),
        ("bad.py", "x = 1\ny = f'{x} are " + "melted'", "bad.py:2: write 'overlapping'"),
        ("bad.py", '"""What' + ' a module does."""', "bad.py:1: open with a verb"),
        ("bad.py", '"""Return ' + "one " * 20 + 'word."""', "bad.py:1: open with at most 20 words"),
        ("bad.sql", "select 1\n{#- The rows that a join gives" + ". -#}", "bad.sql:2: write 'returns'"),
    ],
)
def test_the_word_check_finds(name: str, text: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text + "\n")
    result = check_words(tmp_path / name)
    assert result.returncode == 1
    assert advice in result.stderr


def test_the_word_check_passes_innocent_text(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("There is no padding. It is None, is no longer here, and `is none`.\n")
    (tmp_path / "good.py").write_text('"""Return rows."""\n\nx = "a step gives rows"\n')
    result = check_words(tmp_path / "good.md", tmp_path / "good.py")
    assert result.returncode == 0, result.stderr


def make_setup(directory: Path, python: str) -> str:
    """Return what `make setup` in a copy says on standard error; it must fail and leave no .venv."""
    (directory / "scripts").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "scripts/setup.sh"):
        shutil.copy(ROOT / name, directory / name)
    # MAKEFLAGS: these tests may run under a make that was given another PYTHON
    result = run(["make", "setup", f"PYTHON={python}"], directory, MAKEFLAGS="")
    assert result.returncode != 0
    assert not (directory / ".venv").exists()
    return result.stderr


def fake_python(directory: Path, answers: str) -> str:
    """Write a shell script that answers the code which scripts/setup.sh runs with `python -c CODE`."""
    path = directory / "python3"
    path.write_text(f'#!/bin/sh\ncase "$2" in {answers} esac\n')
    path.chmod(0o755)
    return str(path)


def test_make_names_a_python_that_is_too_old(tmp_path: Path) -> None:
    said = make_setup(tmp_path, fake_python(tmp_path, "*print*) echo 3.9 ;; *) exit 1 ;;"))
    assert "is Python 3.9; pit-join needs Python 3.10 or newer" in said
    assert "make PYTHON=" in said


def test_make_names_a_missing_venv_module(tmp_path: Path) -> None:
    said = make_setup(tmp_path, fake_python(tmp_path, "*print*) echo 3.12 ;; *ensurepip*) exit 1 ;;"))
    assert "Python 3.12 has no working venv module" in said
    assert "apt-get install python3-venv" in said


def test_make_names_a_missing_java(tmp_path: Path) -> None:
    result = run(["/bin/sh", str(ROOT / "scripts/engines.sh")], tmp_path, PATH=str(tmp_path), JAVA_HOME="")
    assert result.returncode == 2
    assert "Java is not installed" in result.stderr
    assert "apt-get install openjdk-17-jre-headless" in result.stderr


def test_make_names_a_missing_python(tmp_path: Path) -> None:
    said = make_setup(tmp_path, "python3-of-nobody")
    assert "python3-of-nobody is not installed; pit-join needs Python 3.10 or newer" in said
    assert "apt-get install python3 python3-venv" in said
