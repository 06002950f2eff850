"""Build the images of the end-to-end tests before the tests run, with the progress that users see.

`scripts/test` calls it: the first build on a machine takes minutes, which is no part of any test's time.
"""

import subprocess
import sys

from e2e.conftest import INCUS_SETTINGS
from e2e.installation import Installation
from images_rig import TEST_DIR


def main() -> int:
    TEST_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    made = Installation(TEST_DIR, INCUS_SETTINGS)
    command = [sys.executable, "-m", "fanlight", "images", "build"]
    return subprocess.run(command, env=made.environment(), check=False, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
