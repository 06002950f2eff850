"""The page that operators read names what there is: every setting, and commands and log messages that exist."""

import re
import subprocess
import sys
from pathlib import Path

from fanlight.config import Settings

ROOT = Path(__file__).parents[2]


def test_the_table_of_settings_is_fresh() -> None:
    command = [sys.executable, ROOT / "tools" / "generate_config_docs.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_is_in_the_table() -> None:
    page = (ROOT / "docs" / "operate.md").read_text()
    assert [name for name in Settings.model_fields if f"| `--{name.replace('_', '-')}` |" not in page] == []


def test_every_command_that_the_pages_name_exists() -> None:
    """`fanlight something` in a page is a promise."""
    from typer.main import get_command

    from fanlight.cli import app

    root = get_command(app)
    for path in (ROOT / "docs" / "operate.md", ROOT / "README.md", ROOT / "CHANGELOG.md"):
        for words in re.findall(r"`fanlight ([a-z][a-z -]*)", path.read_text()):
            command = root
            for word in words.split():
                commands = getattr(command, "commands", None)
                if commands is None or word.startswith("-"):
                    break
                assert word in commands, f"{path.name}: fanlight {words}"
                command = commands[word]


def test_every_log_message_on_the_page_is_logged_somewhere() -> None:
    page = (ROOT / "docs" / "operate.md").read_text().partition("## Log messages")[2].partition("\n## ")[0]
    first_column = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    messages = [message.rstrip("… ") for cell in first_column for message in re.findall(r"`([^`]+)`", cell)]
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    assert len(messages) > 10
    assert [message for message in messages if f'"{message}' not in source] == []
