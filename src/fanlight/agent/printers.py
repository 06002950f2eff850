"""The one printer of a session: what it says of itself, and how a document gets into the spool.

It takes PDF, which is what all programs send that print through CUPS, and looks at nothing but its first bytes: the
document is for the user, who could have put it into the spool without a printer.
"""

import logging
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from fanlight.agent import ipp
from fanlight.agent.ipp import Attribute, Group, Kind, Request

log = logging.getLogger(__name__)

LARGEST_DOCUMENT = 256 * 1024 * 1024
PRINTER = "Print-to-my-device"
TITLE = "Print to my device"
URI = f"ipp://localhost/printers/{PRINTER}"
PDF, MAGIC = "application/pdf", b"%PDF-"
UNNAMED = "Document"
_LONGEST_TITLE = 80
# Paper by its standard name; A4 first, which is the default.
PAPER = (
    "iso_a4_210x297mm", "na_letter_8.5x11in", "na_legal_8.5x14in", "iso_a3_297x420mm", "iso_a5_148x210mm",
    "na_ledger_11x17in", "na_executive_7.25x10.5in",
)  # fmt: skip

OK, BAD_REQUEST, NOT_FOUND, TOO_LARGE, WRONG_FORMAT, NOT_SUPPORTED, FAILED = (
    0x0000, 0x0400, 0x0406, 0x0408, 0x040A, 0x0501, 0x0500,
)  # fmt: skip
PRINT_JOB, VALIDATE_JOB, CREATE_JOB, SEND_DOCUMENT, CANCEL_JOB = 0x0002, 0x0004, 0x0005, 0x0006, 0x0008
GET_JOB, GET_JOBS, GET_PRINTER = 0x0009, 0x000A, 0x000B
CUPS_GET_DEFAULT, CUPS_GET_PRINTERS, CUPS_GET_CLASSES = 0x4001, 0x4002, 0x4005
IDLE_STATE, PENDING_JOB, COMPLETED_JOB, ABORTED_JOB = 3, 3, 9, 8
_IS_COLOURED, _MAKES_SMALL, _MAKES_MEDIUM = 0x8, 0x200, 0x400


class Refused(Exception):
    """A document that is not taken; `status` says why in the protocol's words."""

    def __init__(self, status: int) -> None:
        super().__init__(hex(status))
        self.status = status


@dataclass(slots=True)
class Job:
    number: int
    title: str
    state: int = PENDING_JOB


@dataclass(slots=True)
class Printer:
    """`spool` takes finished documents by being renamed into it; what begins with a dot there is not whole yet."""

    spool: Path
    jobs: dict[int, Job] = field(default_factory=dict)

    def accept(self, title: str) -> Job:
        job = Job(len(self.jobs) + 1, title)
        self.jobs[job.number] = job
        return job

    async def store(self, job: Job, pieces: AsyncIterator[bytes]) -> None:
        """Put a document into the spool, whole or not at all. Raises Refused, OSError."""
        job.state = ABORTED_JOB
        staging = self.spool / f".{os.urandom(8).hex()}"
        taken = 0
        try:
            with staging.open("xb") as file:
                async for piece in _as_pdf(pieces):
                    taken += len(piece)
                    file.write(piece)
            staging.chmod(0o644)
            staging.rename(self.spool / f"{file_name_of(job.title)}-{os.getpid()}-{job.number}.pdf")
        except BaseException:
            staging.unlink(missing_ok=True)
            raise
        job.state = COMPLETED_JOB
        log.info("document printed, %d bytes", taken)


async def _as_pdf(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass a document on. Raises Refused for one that is too large, and for one that is no PDF before it says more."""
    begin, taken = b"", 0
    async for piece in pieces:
        taken += len(piece)
        begin = (begin + piece[: len(MAGIC)])[: len(MAGIC)]
        if not begin.startswith(MAGIC[: len(begin)]):
            raise Refused(WRONG_FORMAT)
        if taken > LARGEST_DOCUMENT:
            raise Refused(TOO_LARGE)
        yield piece
    if begin != MAGIC:
        raise Refused(WRONG_FORMAT)


def file_name_of(title: str) -> str:
    """Return a title as a part of a file's name that every system takes."""
    plain = re.sub(r"[^\w .()+-]+", "_", title).strip(" ._")
    plain = plain[: -len(".pdf")] if plain.lower().endswith(".pdf") else plain
    return plain[:_LONGEST_TITLE].strip(" ._") or UNNAMED


def printer_attributes() -> list[Attribute]:
    operations = (
        PRINT_JOB, VALIDATE_JOB, CREATE_JOB, SEND_DOCUMENT, CANCEL_JOB, GET_JOB, GET_JOBS, GET_PRINTER,
        CUPS_GET_DEFAULT, CUPS_GET_PRINTERS,
    )  # fmt: skip
    return [
        ("printer-name", Kind.NAME, [PRINTER]),
        ("printer-uri-supported", Kind.URI, [URI]),
        ("uri-security-supported", Kind.KEYWORD, ["none"]),
        ("uri-authentication-supported", Kind.KEYWORD, ["none"]),
        ("auth-info-required", Kind.KEYWORD, ["none"]),
        ("printer-info", Kind.TEXT, [TITLE]),
        ("printer-location", Kind.TEXT, ["In your browser"]),
        ("printer-make-and-model", Kind.TEXT, [TITLE]),
        ("device-uri", Kind.URI, ["fanlight:/browser"]),
        ("printer-type", Kind.ENUM, [_IS_COLOURED | _MAKES_SMALL | _MAKES_MEDIUM]),
        ("printer-state", Kind.ENUM, [IDLE_STATE]),
        ("printer-state-reasons", Kind.KEYWORD, ["none"]),
        ("printer-state-message", Kind.TEXT, [""]),
        ("printer-is-accepting-jobs", Kind.BOOLEAN, [True]),
        ("printer-is-shared", Kind.BOOLEAN, [False]),
        ("printer-up-time", Kind.INTEGER, [1]),
        ("queued-job-count", Kind.INTEGER, [0]),
        ("ipp-versions-supported", Kind.KEYWORD, ["1.1", "2.0"]),
        ("operations-supported", Kind.ENUM, operations),
        ("charset-configured", Kind.CHARSET, ["utf-8"]),
        ("charset-supported", Kind.CHARSET, ["utf-8"]),
        ("natural-language-configured", Kind.LANGUAGE, ["en"]),
        ("generated-natural-language-supported", Kind.LANGUAGE, ["en"]),
        ("document-format-default", Kind.MIME, [PDF]),
        ("document-format-supported", Kind.MIME, [PDF]),
        ("compression-supported", Kind.KEYWORD, ["none"]),
        ("pdl-override-supported", Kind.KEYWORD, ["attempted"]),
        ("multiple-document-handling-supported", Kind.KEYWORD, ["separate-documents-uncollated-copies"]),
        ("copies-default", Kind.INTEGER, [1]),
        ("copies-supported", Kind.RANGE, [(1, 1)]),
        ("media-default", Kind.KEYWORD, [PAPER[0]]),
        ("media-supported", Kind.KEYWORD, PAPER),
        ("sides-default", Kind.KEYWORD, ["one-sided"]),
        ("sides-supported", Kind.KEYWORD, ["one-sided"]),
        ("print-color-mode-default", Kind.KEYWORD, ["color"]),
        ("print-color-mode-supported", Kind.KEYWORD, ["color", "monochrome"]),
        ("orientation-requested-supported", Kind.ENUM, [3, 4]),
        ("orientation-requested-default", Kind.ENUM, [3]),
        ("job-sheets-default", Kind.NAME, ["none"]),
        ("job-sheets-supported", Kind.NAME, ["none"]),
        ("number-up-default", Kind.INTEGER, [1]),
        ("number-up-supported", Kind.INTEGER, [1]),
        ("finishings-default", Kind.ENUM, [3]),
        ("finishings-supported", Kind.ENUM, [3]),
        ("printer-resolution-default", Kind.RESOLUTION, [(300, 300, 3)]),
        ("printer-resolution-supported", Kind.RESOLUTION, [(300, 300, 3)]),
    ]


def job_attributes(job: Job) -> list[Attribute]:
    reason = "job-completed-successfully" if job.state == COMPLETED_JOB else "none"
    return [
        ("job-uri", Kind.URI, [f"ipp://localhost/jobs/{job.number}"]),
        ("job-id", Kind.INTEGER, [job.number]),
        ("job-printer-uri", Kind.URI, [URI]),
        ("job-name", Kind.NAME, [job.title]),
        ("job-state", Kind.ENUM, [job.state]),
        ("job-state-reasons", Kind.KEYWORD, [reason]),
    ]


async def answer(printer: Printer, request: Request, document: AsyncIterator[bytes]) -> bytes:
    """Carry out one request and return the answer."""
    status, groups = OK, list[tuple[Group, list[Attribute]]]()
    operation = request.operation
    try:
        if operation in (CUPS_GET_PRINTERS, CUPS_GET_DEFAULT, GET_PRINTER):
            groups = [(Group.PRINTER, printer_attributes())]
        elif operation in (PRINT_JOB, CREATE_JOB):
            job = printer.accept(request.text("job-name") or request.text("document-name") or UNNAMED)
            if operation == PRINT_JOB:
                await printer.store(job, document)
            groups = [(Group.JOB, job_attributes(job))]
        elif operation in (SEND_DOCUMENT, GET_JOB):
            job = _job(printer, request)
            if operation == SEND_DOCUMENT:
                await printer.store(job, document)
            groups = [(Group.JOB, job_attributes(job))]
        elif operation not in (GET_JOBS, VALIDATE_JOB, CUPS_GET_CLASSES, CANCEL_JOB):
            status = NOT_SUPPORTED  # those four: no job waits, and whatever a job would say of itself is fine
    except Refused as refusal:
        status = refusal.status
    except OSError as error:
        log.warning("a document could not be kept: %s", error)
        status = FAILED
    return ipp.write_answer(status, request.request_id, groups)


def _job(printer: Printer, request: Request) -> Job:
    """Return the job that is named by its number or by its address. Raises Refused."""
    number = int.from_bytes(request.attributes.get("job-id", b""))
    last_step = request.text("job-uri").rpartition("/")[2]
    job = printer.jobs.get(number or (int(last_step) if last_step.isascii() and last_step.isdigit() else 0))
    if job is None:
        raise Refused(NOT_FOUND)
    return job
