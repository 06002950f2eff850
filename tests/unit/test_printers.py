"""The session's printer: what programs are told, what it takes, and how it speaks."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fanlight.agent import ipp, print_server, printers
from fanlight.agent.ipp import Kind, MalformedMessage, Request, read_request, write_answer
from fanlight.agent.print_server import Connection
from fanlight.agent.printers import (
    CREATE_JOB,
    CUPS_GET_DEFAULT,
    CUPS_GET_PRINTERS,
    GET_JOB,
    GET_PRINTER,
    PRINT_JOB,
    SEND_DOCUMENT,
    VALIDATE_JOB,
    Printer,
    answer,
    file_name_of,
)

PDF = b"%PDF-1.7\n" + bytes(50_000)


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for each in content:
        yield each


def status_of(message: bytes) -> int:
    return int.from_bytes(message[2:4])


def asked(operation: int, **attributes: str) -> bytes:
    """Return a request as programs write it: charset, language, then what is wanted."""
    wanted = {"attributes-charset": "utf-8", "attributes-natural-language": "en"} | {
        name.replace("_", "-"): value for name, value in attributes.items()
    }
    parts = [struct.pack(">HHIB", 0x0200, operation, 7, 1)]
    for name, value in wanted.items():
        parts += [
            bytes([0x42]),
            struct.pack(">H", len(name)),
            name.encode(),
            struct.pack(">H", len(value)),
            value.encode(),
        ]
    return b"".join([*parts, b"\x03"])


@pytest.fixture
def printer(tmp_path: Path) -> Printer:
    return Printer(tmp_path)


def printed(printer: Printer) -> dict[str, bytes]:
    """Return what is in the spool, by the part of the name that comes from the title."""
    return {path.name.rsplit("-", 2)[0]: path.read_bytes() for path in printer.spool.iterdir()}


# ── The protocol ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_read_up_to_its_document() -> None:
    message = asked(PRINT_JOB, job_name="Brief")
    request, at = read_request(message + PDF)
    assert (request.operation, request.request_id, request.text("job-name"), at) == (
        PRINT_JOB,
        7,
        "Brief",
        len(message),
    )
    assert request.text("absent") == ""


def test_a_request_that_is_cut_off_anywhere_is_malformed() -> None:
    whole = asked(PRINT_JOB, job_name="Brief")
    for cut in range(len(whole)):
        with pytest.raises(MalformedMessage):
            read_request(whole[:cut])


def test_values_are_written_as_the_standard_says() -> None:
    message = write_answer(0, 9, [(ipp.Group.JOB, [("a", Kind.INTEGER, [1]), ("b", Kind.BOOLEAN, [True]), ("c", Kind.KEYWORD, ["x", "yz"]), ("d", Kind.RANGE, [(1, 2)])])])  # fmt: skip
    assert message.startswith(b"\x01\x01\x00\x00\x00\x00\x00\x09\x01")
    assert message.endswith(
        b"\x02\x21\x00\x01a\x00\x04\x00\x00\x00\x01\x22\x00\x01b\x00\x01\x01\x44\x00\x01c\x00\x01x\x44\x00\x00\x00\x02yz"
        b"\x33\x00\x01d\x00\x08\x00\x00\x00\x01\x00\x00\x00\x02\x03"
    )


# ── The printer ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("operation", [CUPS_GET_PRINTERS, CUPS_GET_DEFAULT, GET_PRINTER])
async def test_programs_are_told_of_one_printer_that_takes_pdf(printer: Printer, operation: int) -> None:
    said = await answer(printer, Request(operation, 1), pieces())
    assert status_of(said) == 0
    for word in (b"Print to my device", b"ipp://localhost/printers/Print-to-my-device", b"application/pdf", b"iso_a4"):
        assert word in said


async def test_a_document_is_in_the_spool_whole_or_not_at_all(printer: Printer) -> None:
    said = await answer(printer, Request(PRINT_JOB, 1, {"job-name": b"Brief"}), pieces(PDF[:3], PDF[3:100], PDF[100:]))
    assert status_of(said) == 0
    assert printed(printer) == {"Brief": PDF}
    assert {path.stat().st_mode & 0o777 for path in printer.spool.iterdir()} == {0o644}

    async def breaks_off() -> AsyncIterator[bytes]:
        yield PDF
        raise EOFError

    with pytest.raises(EOFError):
        await answer(printer, Request(PRINT_JOB, 1, {"job-name": b"Half"}), breaks_off())
    assert printed(printer) == {"Brief": PDF}


async def test_a_job_may_come_before_its_document(printer: Printer) -> None:
    await answer(printer, Request(CREATE_JOB, 1, {"job-name": b"Brief"}), pieces())
    assert printed(printer) == {}
    assert (
        status_of(await answer(printer, Request(SEND_DOCUMENT, 2, {"job-id": b"\x00\x00\x00\x01"}), pieces(PDF))) == 0
    )
    assert printed(printer) == {"Brief": PDF}
    done = await answer(printer, Request(GET_JOB, 3, {"job-uri": b"ipp://localhost/jobs/1"}), pieces())
    assert b"job-completed-successfully" in done


@pytest.mark.parametrize("document", [b"", b"%PD", b"%!PS-Adobe-3.0", b"hello"])
async def test_what_is_no_pdf_is_refused(printer: Printer, document: bytes) -> None:
    said = await answer(printer, Request(PRINT_JOB, 1), pieces(document[:1], document[1:]))
    assert status_of(said) == printers.WRONG_FORMAT
    assert printed(printer) == {}


async def test_what_is_too_large_is_refused(printer: Printer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printers, "LARGEST_DOCUMENT", 100)
    assert status_of(await answer(printer, Request(PRINT_JOB, 1), pieces(PDF))) == printers.TOO_LARGE
    assert printed(printer) == {}


@pytest.mark.parametrize(
    ("operation", "attributes", "status"),
    [
        (SEND_DOCUMENT, {"job-id": b"\x00\x00\x00\x05"}, printers.NOT_FOUND),
        (GET_JOB, {"job-uri": b"ipp://localhost/jobs/x"}, printers.NOT_FOUND),
        (GET_JOB, {}, printers.NOT_FOUND),
        (VALIDATE_JOB, {}, printers.OK),
        (0x4003, {}, printers.NOT_SUPPORTED),
    ],
)
async def test_other_requests_are_answered(
    printer: Printer, operation: int, attributes: dict[str, bytes], status: int
) -> None:
    assert status_of(await answer(printer, Request(operation, 1, attributes), pieces(PDF))) == status


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Brief.pdf", "Brief"),
        ("../../etc/passwd", "etc_passwd"),
        (".hidden", "hidden"),
        ("a/b\\c\nd", "a_b_c_d"),
        ("Grüße – 日本", "Grüße _ 日本"),
        ("...", "Document"),
        ("", "Document"),
        ("x" * 300, "x" * 80),
    ],
)
def test_titles_become_names_that_every_system_takes(title: str, name: str) -> None:
    assert file_name_of(title) == name


# ── Over HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Writer:
    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, content: bytes) -> None:
        self.written += content

    async def drain(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True


async def said_to(printer: Printer, sent: bytes) -> bytes:
    reader, writer = asyncio.StreamReader(limit=print_server.LARGEST_HEAD), Writer()
    reader.feed_data(sent)
    reader.feed_eof()
    await Connection(printer, reader, writer).serve()  # type: ignore[arg-type]
    assert writer.is_closed
    return writer.written


def posted(body: bytes, *headers: str) -> bytes:
    return "\r\n".join(["POST /printers/x HTTP/1.1", *headers, "", ""]).encode() + body


async def test_requests_on_one_connection_are_answered_one_after_the_other(printer: Printer) -> None:
    document = asked(PRINT_JOB, job_name="Brief") + PDF
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (document[:5], document[5:300], document[300:]))
    listing = asked(CUPS_GET_PRINTERS)
    said = await said_to(
        printer,
        posted(chunked + b"0\r\n\r\n", "Transfer-Encoding: chunked", "Expect: 100-continue")
        + posted(listing, f"Content-Length: {len(listing)}")
        + b"GET /printers/Print-to-my-device.ppd HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert (said.count(b"HTTP/1.1 200 OK"), said.count(b"HTTP/1.1 404 Not Found")) == (2, 1)
    assert printed(printer) == {"Brief": PDF}


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01",
        b"x" * 20_000,
        posted(b"", "Content-Length: many"),
        posted(b"zz\r\n", "Transfer-Encoding: chunked"),
        posted(b"ffffffff\r\nxx", "Transfer-Encoding: chunked"),
        posted(b"\x01\x01", "Content-Length: 2"),
        posted(asked(PRINT_JOB) + PDF, f"Content-Length: {len(PDF) * 2}"),
    ],
)
async def test_nonsense_ends_the_connection_and_prints_nothing(printer: Printer, sent: bytes) -> None:
    said = await said_to(printer, sent)
    assert b"200 OK" not in said
    assert printed(printer) == {}
