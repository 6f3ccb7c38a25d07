"""What must agree between the project's files, and what none of them may hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]

MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|root|home)/")
PACKAGE_INDEX = re.compile(
    r"https?://[^\s/]*(?:pypi|pythonhosted|npmjs|anaconda|registry|artifactory|nexus)"
    r"|https?://\S+/simple\b",
    re.IGNORECASE,
)
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def bounds(requirements: list[str]) -> dict[str, str]:
    """Return the version specifiers by canonical name."""
    parsed = map(Requirement, requirements)
    return {canonicalize_name(each.name): str(each.specifier) for each in parsed}


def tracked_texts() -> list[tuple[Path, str]]:
    """Return the text files that git knows or would add, with their contents."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(git, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git repository")
    texts = []
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" not in data:
            texts.append((path.relative_to(ROOT), data.decode()))
    return texts


def test_conda_environment_has_the_same_bounds() -> None:
    metadata = project()
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [each for each in environment["dependencies"] if isinstance(each, str)]
    pip = [each["pip"] for each in environment["dependencies"] if isinstance(each, dict)]

    expected = bounds([*metadata["dependencies"], *metadata["optional-dependencies"]["lab"]])
    # It is built, by pip, as conda-forge may have older ones only.
    expected.pop("llama-cpp-python")
    builders = dict.fromkeys(("c-compiler", "cmake", "cxx-compiler", "ninja", "pip"), "")
    expected |= {"python": metadata["requires-python"], **builders}
    assert bounds(conda) == expected
    assert pip == [["-e .[demo]"]]


def test_readme_is_in_the_metadata() -> None:
    assert project().get("readme") == ("README.md" if (ROOT / "README.md").exists() else None)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_documented_commands_are_targets(name: str) -> None:
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"there is no {name}")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    code = re.findall(r"```.*?```|`[^`]+`", path.read_text(encoding="utf-8"), re.DOTALL)
    commands = set(re.findall(r"(?:^|[`;&$])\s*make ([a-z-]+)", "\n".join(code), re.MULTILINE))
    assert commands
    assert commands <= targets


def test_files_name_no_machine_and_no_package_index() -> None:
    found = [
        f"{path}:{number}: {line.strip()[:120]}"
        for path, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line) or PACKAGE_INDEX.search(line)
    ]
    assert not found


def test_notebooks_carry_no_widget_state() -> None:
    notebooks = [(path, text) for path, text in tracked_texts() if path.suffix == ".ipynb"]
    assert [path for path, text in notebooks if WIDGET_STATE in text] == []


@pytest.mark.parametrize("status", [0, 3])
def test_progress_keeps_status_and_output(status: int, tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    script = f"echo '  [7/140] c++ -c a.cpp'; echo trouble >&2; exit {status}"
    progress = [sys.executable, str(ROOT / "tools" / "progress.py"), str(log), "sh", "-c", script]
    result = subprocess.run(progress, capture_output=True, text=True, check=False)

    assert result.returncode == status
    assert "trouble" in log.read_text(encoding="utf-8")
    assert ("trouble" in result.stderr) == (status != 0)


def test_busy_loops_end_with_what_runs_beside_them() -> None:
    script = "import os, sys; print(os.getppid()); sys.exit(3)"
    busy = [sys.executable, str(ROOT / "tools" / "busy.py"), "--loops", "2"]
    done = subprocess.run([*busy, sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 3
    assert "beside 2 busy loops" in done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
