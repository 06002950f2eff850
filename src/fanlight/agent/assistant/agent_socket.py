"""How the assistant reaches the agent: a Unix socket that only root of the builder can use, one JSON line each way."""

import json
import socket
from typing import Any

from fanlight.agent.assistant.refusals import AssistantRefuses
from fanlight.agentwire.image_requests import MAX_REQUEST_CHARACTERS

SOCKET = "/run/fanlight-assistant.sock"
MAX_LINE_BYTES = MAX_REQUEST_CHARACTERS + 65_536
# The host gets a minute to think it over, and both sides a moment to find each other after a restart.
ANSWER_LIMIT_IN_SECONDS = 100.0
AWAY = "The agent of this image builder does not answer. Is this an image builder?"


def ask_agent(operation: str, *, path: str = SOCKET, limit: float = ANSWER_LIMIT_IN_SECONDS, **members: Any) -> str:
    """Return the message of a success. Raises AssistantRefuses with the agent's or the host's status and words."""
    line = json.dumps({"operation": operation, **members}, separators=(",", ":")).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(limit)
            link.connect(path)
            link.sendall(line)
            with link.makefile("rb") as answers:
                answer = json.loads(answers.readline(65_536))
        status, message = int(answer["status"]), str(answer["message"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AssistantRefuses(AWAY) from error
    if status != 0:
        raise AssistantRefuses(message, status)
    return message
