"""Run the operating system's programs, such as `nft` and `ip`."""

import asyncio
import subprocess

from fanlight.domain.errors import DriverUnavailable


async def run_program(*words: str, text: str = "") -> str:
    """Return the output of a program that got `text`. Raises DriverUnavailable when it is missing or fails."""
    # In a thread: an event loop's own pipe to a program that ends at once breaks in more ways than one.
    try:
        done = await asyncio.to_thread(
            subprocess.run, words, input=text, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise DriverUnavailable(
            f"{words[0]} cannot be run ({error.strerror}): scripts/host-setup installs it."
        ) from error
    if done.returncode:
        raise DriverUnavailable(f"{' '.join(words)} failed: {done.stderr.strip()}")
    return done.stdout
