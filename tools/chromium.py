"""Find a chromium for the browser tests, or install Debian's where that is possible.

Without one, the browser tests are skipped, so this says why and does not fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PACKAGES = ("chromium", "fonts-dejavu-core")


def main() -> None:
    """Say which chromium there is, or why there is none."""
    if any(map(shutil.which, _NAMES)):
        return
    if shutil.which("apt-get") is None:
        print("The browser tests will be skipped: there is no chromium; please install one.")
    elif os.geteuid() != 0:
        packages = " ".join(_PACKAGES)
        print(f"The browser tests will be skipped; to have them: sudo apt-get install {packages}")
    else:
        print("Installing chromium for the browser tests.")
        _install()


def _install() -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (("update",), ("install", "-y", "--no-install-recommends", *_PACKAGES)):
        done = subprocess.run(
            ["apt-get", "-q", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and arguments[0] == "install":
            print("The browser tests will be skipped: apt-get could not install chromium.")
            print(done.stderr.strip()[-1000:])


if __name__ == "__main__":
    main()
