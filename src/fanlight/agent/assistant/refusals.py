"""Why the assistant does not do what it was asked to: an exit code and the message that goes with it."""

ADMINISTRATOR_NEEDED = "Administrator privileges are required to perform this operation"
TOO_MANY = "Unable to add more than 50 apps to the catalog."
NOT_UNIQUE = "Name is not unique"
NO_PROGRAM = "File not found (absolute-app-path)"
NO_DIRECTORY = "Directory not found (working-directory)"
UNSUPPORTED_EXTENSION = "Unsupported file extension"
NO_APPLICATION = "App not found"
INVALID_TAGS = "Invalid value (tags)"
REFUSED, FAILED = 1, 255


class AssistantRefuses(Exception):
    """The text is the message; `status` is 1 for the refusals that AppStream documents, 255 for all others."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def refused(message: str) -> AssistantRefuses:
    return AssistantRefuses(message, REFUSED)


def no_manifest(path: str) -> AssistantRefuses:
    return refused(f"Optimization-manifest not found: {path}")


def no_file(path: str) -> AssistantRefuses:
    return refused(f"File not found: {path}")
