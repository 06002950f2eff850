# ruff: noqa: S603, S607 - a throw-away system with constant commands
"""Put a Python interpreter and everything it needs into one directory that uses nothing of the system around it.

Runs with the interpreter that it copies, as root of a throw-away Debian, with the runtime under construction mounted
where instances will find it. Standard library only.
"""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

RUNTIME = Path("/opt/fanlight/runtime")
LIBRARIES = RUNTIME / "lib"
STANDARD_LIBRARY = f"python{sys.version_info.major}.{sys.version_info.minor}"
SYSTEM_LOADER, LOADER = b"/lib64/ld-linux-x86-64.so.2", b"/opt/fanlight/runtime/ld.so"  # equally long, see bind()
LEFT_OUT = ("test", "idlelib", "turtledemo", "ensurepip", "pydoc_data", "__pycache__", "config-*")
ELF = b"\x7fELF"
TCL = Path("/usr/share/tcltk")  # what Tcl and Tk are made of besides their libraries
TCL_LEFT_OUT = ("tzdata", "demos", "msgs", "images", "opt*")
LOADED_BY_NAME = ("/usr/lib/x86_64-linux-gnu/libpulse.so.0",)  # dlopen, so no header names it
CHECK = """
import sys
sys.path.append("/opt/fanlight/runtime/site-packages")
import fanlight.agent.__main__, fanlight.agent.files_server, fanlight.agent.folder_mounts, fanlight.agent.assistant.command_line, fanlight.agent.assistant.menus, fanlight.agent.kept_settings.transfers, fanlight.agent.print_server, fanlight.agent.stream as stream, importlib
for name in (*stream.SLOW_IMPORTS, "selkies.__main__"):
    importlib.import_module(name)
from fanlight.agent import copy_limits
copy_limits.check(importlib.import_module("selkies.input_handler"), importlib.import_module("selkies.websockets_mode"))
importlib.import_module("selkies.printing").PrintQueue.programs
import fanlight.agent.assistant.window as window
window.name_libraries()
import fanlight.agent.assistant.window.frame
import tkinter
tkinter.Tcl().eval("info library")
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line.split()[-1]}
strange = sorted(m for m in mapped if not m.startswith("/opt/fanlight/runtime/") and not m.startswith("/usr/lib/locale/"))
sys.exit(f"the runtime is not self-contained: {strange}" if strange else 0)
"""


def main() -> None:
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    (RUNTIME / "bin").mkdir(exist_ok=True)
    shutil.copytree(
        f"/usr/lib/{STANDARD_LIBRARY}", LIBRARIES / STANDARD_LIBRARY, ignore=shutil.ignore_patterns(*LEFT_OUT)
    )
    for directory in TCL.iterdir():
        if re.fullmatch(r"(tcl|tk)\d+(\.\d+)?", directory.name):
            # Without the version, so that whoever names them need not know it; Tcl finds its modules (tcl8) beside them.
            target = LIBRARIES / re.sub(r"\d+\.\d+", "", directory.name)
            shutil.copytree(directory, target, ignore=shutil.ignore_patterns(*TCL_LEFT_OUT))
    interpreter = RUNTIME / "bin" / "python3"
    shutil.copyfile(f"/usr/bin/{STANDARD_LIBRARY}", interpreter)
    interpreter.chmod(0o755)
    own = [path for path in RUNTIME.rglob("*") if is_elf(path)]
    for library in needed_by([*own, *map(Path, LOADED_BY_NAME)]):
        shutil.copyfile(library, LIBRARIES / library.name)
    (LIBRARIES / Path(SYSTEM_LOADER.decode()).name).rename(LOADER.decode())
    Path(LOADER.decode()).chmod(0o755)
    bind(interpreter)
    for path in (RUNTIME / "lib", RUNTIME / "site-packages"):
        compileall.compile_dir(
            path, quiet=2, workers=os.cpu_count() or 1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    subprocess.run([str(interpreter), "-IS", "-c", CHECK], check=True, env={"GCONV_PATH": str(LIBRARIES)})


def is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == ELF


def needed_by(files: list[Path]) -> set[Path]:
    """Return the system's libraries that the files need, directly and indirectly, those files of the system included."""
    found = {path for path in files if not path.is_relative_to(RUNTIME)}
    for path in files:
        listed = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
        if missing := re.findall(r"(\S+) => not found", listed):
            raise SystemExit(f"{path} needs {', '.join(missing)}, which no package of the runtime brings")
        paths = {Path(p) for p in re.findall(r"(?:=> )?(/\S+) \(0x", listed)}
        found |= {p for p in paths if not p.is_relative_to(RUNTIME)}
    return found


def bind(interpreter: Path) -> None:
    """Make the interpreter start through our loader, and every file here look for libraries here first.

    DT_RPATH, not the newer DT_RUNPATH: it also holds for libraries that libraries need.
    """
    # Written over in place: patchelf cannot change loader and path of a fixed-address executable together (it crashes).
    program = interpreter.read_bytes()
    if program.count(SYSTEM_LOADER + b"\0") != 1:
        raise SystemExit("the interpreter names its loader in an unexpected way")
    interpreter.write_bytes(program.replace(SYSTEM_LOADER + b"\0", LOADER + b"\0"))
    for path in RUNTIME.rglob("*"):
        if not is_elf(path) or path == Path(LOADER.decode()):
            continue
        old = subprocess.run(
            ["patchelf", "--print-rpath", str(path)], capture_output=True, text=True, check=False
        ).stdout
        if old.strip() or path == interpreter:  # the interpreter's holds for all that have none of their own
            own = [step for step in old.strip().split(":") if step.startswith("$ORIGIN")]
            subprocess.run(
                ["patchelf", "--force-rpath", "--set-rpath", ":".join([*own, str(LIBRARIES)]), str(path)], check=True
            )


if __name__ == "__main__":
    main()
