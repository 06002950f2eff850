"""Write the tables of settings and quotas in docs/operate.md from the code, between their markers.

tools/generate_config_docs.py            write it
tools/generate_config_docs.py --check    exit with 1 when it is not as it would be written
"""

import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from fanlight.config import Settings
from fanlight.domain.quotas import ROWS

PAGE = Path(__file__).parents[1] / "docs" / "operate.md"
BEGIN = "<!-- settings: written by tools/generate_config_docs.py -->"
END = "<!-- end of settings -->"
BEGIN_QUOTAS = "<!-- quotas: written by tools/generate_config_docs.py -->"
END_QUOTAS = "<!-- end of quotas -->"
HEADER = "| setting | default | meaning |\n| --- | --- | --- |\n"


def row(name: str, field: FieldInfo) -> str:
    """Return one line: the flag, from which the other two spellings follow, its default, and what it is for."""
    meaning = [field.description.rstrip(".") + "." if field.description else "", allowed(field)]
    cells = (f"`--{name.replace('_', '-')}`", default(field), " ".join(filter(None, meaning)))
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


def default(field: FieldInfo) -> str:
    value = field.get_default()
    if value is None or value == ():
        return "–"
    return f"`{', '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def allowed(field: FieldInfo) -> str:
    """Return what values may be given, as far as the declaration says."""
    options = [str(option) for option in get_args(field.annotation) if isinstance(option, str)]
    if options:
        return f"One of {', '.join(f'`{option}`' for option in options)}."
    least = next((rule.ge for rule in field.metadata if isinstance(rule, Ge)), None)
    most = next((rule.le for rule in field.metadata if isinstance(rule, Le)), None)
    words = [f"at least {least}" if least is not None else "", f"at most {most}" if most is not None else ""]
    limits = " and ".join(filter(None, words))
    if (least, most) == (0, 65535):
        limits = ""  # a port, which everybody knows
    several = "May be given several times." if get_origin(field.annotation) is tuple else ""
    return " ".join(filter(None, (limits[:1].upper() + limits[1:] + "." if limits else "", several)))


def table() -> str:
    fields: dict[str, Any] = dict(Settings.model_fields)
    return HEADER + "".join(row(name, field) for name, field in fields.items())


def quota_table() -> str:
    rows = "".join(
        f"| `{row.name}` | {'–' if row.aws_default is None else row.aws_default} | {row.counts} |\n" for row in ROWS
    )
    return f"| quota | `aws` | counts |\n| --- | --- | --- |\n{rows}"


def page(text: str) -> str:
    """Return the page with its tables as the code is now. Raises ValueError when a marker is missing."""
    for begin, end, written in ((BEGIN, END, table()), (BEGIN_QUOTAS, END_QUOTAS, quota_table())):
        before, has_begin, rest = text.partition(begin)
        _, has_end, after = rest.partition(end)
        if not has_begin or not has_end:
            raise ValueError(f"{PAGE} lacks its markers {begin} and {end}.")
        text = f"{before}{begin}\n{written}{end}{after}"
    return text


def main() -> int:
    """Write the page or check it; return the exit code."""
    text = PAGE.read_text()
    wanted = page(text)
    if "--check" in sys.argv[1:]:
        if text != wanted:
            print(f"{PAGE} is not up to date: run tools/generate_config_docs.py")
        return int(text != wanted)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
