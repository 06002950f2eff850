"""The first four steps: applications, trying them out, their defaults, and their first start made quicker."""

import tempfile
import tkinter as tk
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from tkinter import ttk
from typing import Any

from fanlight.agent.assistant.agent_socket import ask_agent
from fanlight.agent.assistant.applications import Applications, ApplicationWishes
from fanlight.agent.assistant.catalogue import CatalogueEntry
from fanlight.agent.assistant.image_wishes import ImageWishes
from fanlight.agent.assistant.manifests import files_in_use
from fanlight.agent.assistant.refusals import AssistantRefuses
from fanlight.agent.assistant.window.forms import ApplicationDialog
from fanlight.agent.assistant.window.listing import Listing
from fanlight.agentwire import TEST_USER_UID

WRAP = 640


@dataclass(slots=True)
class Work:
    """What the steps have in common; `wishes` grows while the administrator goes on."""

    applications: Applications = field(default_factory=Applications)
    ask: Callable[..., str] = ask_agent
    wishes: ImageWishes = field(default_factory=lambda: ImageWishes(name=""))

    def entries(self) -> Sequence[CatalogueEntry]:
        return self.applications.catalogue.entries()

    def try_application(self, account: str, entry: CatalogueEntry) -> None:
        """Start it as `template` or `test` user. Raises AssistantRefuses."""
        members = ("name", "launch_path", "launch_parameters", "working_directory")
        self.ask(
            "try_application", limit=15.0, account=account, application={name: getattr(entry, name) for name in members}
        )


class Step(ttk.Frame):
    """One page. `enter` is called each time it is shown, `leave` may hold the administrator back with a reason."""

    title, hint = "", ""

    def __init__(self, parent: tk.Misc, work: Work) -> None:
        super().__init__(parent, padding=(28, 22))
        self.work = work
        ttk.Label(self, text=self.title, style="Title.TLabel").pack(anchor="w")
        ttk.Label(self, text=self.hint, style="Hint.TLabel", wraplength=WRAP, justify="left").pack(
            anchor="w", pady=(4, 14)
        )
        self.note = ttk.Label(self, wraplength=WRAP, justify="left")
        self.build()
        self.note.pack(anchor="w", pady=(10, 0))

    def build(self) -> None: ...

    def enter(self) -> None: ...

    def leave(self) -> str:
        return ""

    def say(self, text: str, *, is_problem: bool = False) -> None:
        self.note.configure(text=text, style="Bad.TLabel" if is_problem else "Good.TLabel")

    def attempt(self, action: Callable[[], Any], done: str) -> None:
        """Do it and say how it went."""
        try:
            action()
        except (AssistantRefuses, OSError) as error:
            self.say(str(error), is_problem=True)
        else:
            self.say(done)


class _WithApplications(Step):
    """A page around the list of applications, with buttons that do something with the chosen one."""

    headings: Sequence[tuple[str, int]] = (("Application", 260), ("Program", 380))

    def build(self) -> None:
        self.listing = Listing(self, self.headings, on_open=self.open)
        self.listing.pack(fill="both", expand=True)
        bar = ttk.Frame(self)
        bar.pack(fill="x", pady=(12, 0))
        for text, command, style in self.buttons():
            ttk.Button(bar, text=text, command=command, style=style).pack(side="left", padx=(0, 8))

    def buttons(self) -> Sequence[tuple[str, Callable[[], None], str]]:
        return ()

    def open(self) -> None: ...

    def enter(self) -> None:
        self.say("")
        try:
            rows = [
                (entry.name, self.work.applications.catalogue.icon_path(entry), self.row(entry))
                for entry in self.work.entries()
            ]
        except AssistantRefuses as error:
            self.say(str(error), is_problem=True)
            return
        self.listing.show(rows)

    def row(self, entry: CatalogueEntry) -> Sequence[str]:
        return entry.display_name, f"{entry.launch_path} {entry.launch_parameters}".strip()

    def with_chosen(self, action: Callable[[CatalogueEntry], Any], done: str) -> None:
        if self.listing.chosen is None:
            self.say("Choose an application first.", is_problem=True)
            return
        name = self.listing.chosen

        def act() -> None:
            action(self.work.applications.catalogue.find(name))

        self.attempt(act, done)


class ApplicationsStep(_WithApplications):
    title = "Applications"
    hint = "Install software as on any Linux machine, in the terminal or with apt. Then add here what users shall find in their catalog."

    def buttons(self) -> Sequence[tuple[str, Callable[[], None], str]]:
        return (
            ("Add application…", self._add, "Accent.TButton"),
            ("Change…", self.open, "TButton"),
            ("Remove", self._remove, "TButton"),
        )

    def _add(self) -> None:
        ApplicationDialog(self, self.work.applications, None, self.enter)

    def open(self) -> None:
        def change(entry: CatalogueEntry) -> None:
            ApplicationDialog(self, self.work.applications, entry, self.enter)

        self.with_chosen(change, "")

    def _remove(self) -> None:
        def remove(entry: CatalogueEntry) -> None:
            self.work.applications.remove(entry.name)
            self.enter()

        self.with_chosen(remove, "Removed from the catalog. The software itself stays installed.")


class TrialStep(_WithApplications):
    title = "Test the applications"
    hint = "Start each application as Test User: an account without a past and without rights, as users of the image will be. Every test begins with the default settings."

    def buttons(self) -> Sequence[tuple[str, Callable[[], None], str]]:
        return (("Start as Test User", self.open, "Accent.TButton"),)

    def open(self) -> None:
        self.with_chosen(
            lambda entry: self.work.try_application("test", entry), "Started as Test User. Does it do what it should?"
        )


class DefaultsStep(_WithApplications):
    title = "Default settings"
    hint = "Start an application as Template User and set it up as everybody shall find it. What Template User's home holds when the image is created becomes the default of all users, and goes into /etc/skel."

    def buttons(self) -> Sequence[tuple[str, Callable[[], None], str]]:
        return (
            ("Start as Template User", self.open, "Accent.TButton"),
            ("Check as Test User", self._check, "TButton"),
        )

    def open(self) -> None:
        self.with_chosen(
            lambda entry: self.work.try_application("template", entry),
            "Started as Template User. Set it up, then close it.",
        )

    def _check(self) -> None:
        self.with_chosen(
            lambda entry: self.work.try_application("test", entry),
            "Started as Test User, with the defaults as they are now.",
        )


class OptimizeStep(_WithApplications):
    title = "Optimize"
    hint = "An application starts quicker the first time when its files are read ahead in every instance. Start it, use it as users would, and note the files while it runs. This step is optional."
    headings = (("Application", 300), ("Files read ahead", 340))

    def buttons(self) -> Sequence[tuple[str, Callable[[], None], str]]:
        return (("Start", self.open, "TButton"), ("Note its files", self._note_files, "Accent.TButton"))

    def row(self, entry: CatalogueEntry) -> Sequence[str]:
        path = self.work.applications.catalogue.manifest_path(entry)
        if path is None or not path.is_file():
            return entry.display_name, "–"
        return entry.display_name, f"{len(path.read_text(encoding='utf-8', errors='replace').splitlines())} files"

    def open(self) -> None:
        self.with_chosen(
            lambda entry: self.work.try_application("test", entry),
            "Started as Test User. Note its files when it is up.",
        )

    def _note_files(self) -> None:
        def note(entry: CatalogueEntry) -> None:
            files = files_in_use(TEST_USER_UID)
            if not files:
                raise AssistantRefuses("The application does not run as Test User. Start it first.")
            with tempfile.NamedTemporaryFile("w", suffix=".txt") as manifest:
                manifest.write("".join(f"{path}\n" for path in files))
                manifest.flush()
                self.work.applications.update(ApplicationWishes(name=entry.name, absolute_manifest_path=manifest.name))
            self.enter()

        self.with_chosen(note, "Noted.")
