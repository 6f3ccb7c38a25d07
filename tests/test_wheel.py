"""The packages that `python -m build` makes: what is in them, and that one of them works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from test_project import ROOT

pytestmark = pytest.mark.slow

JUNK = ("__pycache__", ".pyc", ".ipynb_checkpoints", ".egg-info", "build/", "dist/", ".venv")


def tracked(*folders: str) -> set[str]:
    """The files of the repository, as git knows or would add them."""
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run([*git, "--", *folders], capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git repository")
    return {name for name in listing.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source package, and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    about = {name for name in names if ".dist-info/" in name}
    data = {name for name in names if ".data/" in name}
    assert names - about - data == tracked("mullama_nb")
    beginning = "/data/share/mullama_nb/"
    assert {name.partition(beginning)[2] for name in data} == tracked("notebooks")
    ends = {name.rpartition(".dist-info/")[2] for name in about}
    assert ends == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert {".js", ".css", ".py"} <= {Path(name).suffix for name in names}
    assert "mullama_nb/py.typed" in names


def test_the_source_package_has_what_git_has(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    assert names - {"PKG-INFO"} <= tracked(".")
    assert not [name for name in names if any(junk in name for junk in JUNK)]
    needed = tracked("mullama_nb", "notebooks", "README.md", "LICENSE", "pyproject.toml")
    assert needed <= names


def test_the_wheel_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies come from the environment of the tests: nothing is downloaded."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python, scheme = venv / "bin" / "python", {"base": str(venv), "platbase": str(venv)}
    place = Path(sysconfig.get_path("purelib", "venv", scheme))
    here = Path(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    install = [*pip, "--no-index", "--disable-pip-version-check", "--quiet", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (place / "environment.pth").write_text(f"{here}\n", "utf-8")

    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["HOME"] = str(tmp_path)

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = "import mullama_nb, mullama_nb.widgets; print(mullama_nb.__file__)"
    assert Path(run(str(python), "-c", code).strip()).is_relative_to(place)
    command = str(venv / "bin" / "mullama-nb")
    found = json.loads(run(command, "doctor", "--json"))
    assert "smollm2" in found["models"]
    said = run(
        command, "run", "smollm2", "Name a colour.", "--max-tokens", "4", "--temperature", "0"
    )
    assert said.strip()
    run(command, "lab", "lessons", "--no-open")
    lessons = {Path(name).name for name in tracked("notebooks") if Path(name).name[:2].isdigit()}
    assert {path.name for path in (tmp_path / "lessons").iterdir()} == {
        name for name in lessons if name.endswith(".ipynb")
    }
