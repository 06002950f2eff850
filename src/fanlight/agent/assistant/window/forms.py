"""Fields with their labels, and the dialog in which an application is described."""

import tkinter as tk
from collections.abc import Callable
from tkinter import filedialog, ttk

from fanlight.agent.assistant.applications import Applications, ApplicationWishes
from fanlight.agent.assistant.catalogue import CatalogueEntry
from fanlight.agent.assistant.installed import InstalledApplication, installed_applications
from fanlight.agent.assistant.refusals import AssistantRefuses
from fanlight.agent.assistant.window.listing import Listing
from fanlight.agent.assistant.window.style import PAPER

WRAP = 560


class Form(ttk.Frame):
    """Labelled fields, one a row."""

    def __init__(self, parent: tk.Misc) -> None:
        super().__init__(parent)
        self.columnconfigure(1, weight=1)
        self._rows = 0

    def field(
        self, label: str, value: str = "", hint: str = "", browse: Callable[[], str] | None = None
    ) -> tk.StringVar:
        """Add one; `browse` returns what it is to be, or nothing."""
        variable = tk.StringVar(self, value)
        ttk.Label(self, text=label).grid(row=self._rows, column=0, sticky="w", padx=(0, 16), pady=(6, 0))
        entry = ttk.Entry(self, textvariable=variable)
        entry.grid(row=self._rows, column=1, sticky="ew", pady=(6, 0))
        if browse is not None:
            choose = browse

            def take() -> None:
                if found := choose():
                    variable.set(found)

            ttk.Button(self, text="Browse…", command=take).grid(row=self._rows, column=2, padx=(8, 0), pady=(6, 0))
        if hint:
            ttk.Label(self, text=hint, style="Hint.TLabel", wraplength=WRAP).grid(
                row=self._rows + 1, column=1, sticky="w"
            )
        self._rows += 2
        return variable

    def switch(self, label: str, *, value: bool, hint: str = "") -> tk.BooleanVar:
        variable = tk.BooleanVar(self, value)
        ttk.Checkbutton(self, text=label, variable=variable).grid(row=self._rows, column=1, sticky="w", pady=(8, 0))
        if hint:
            ttk.Label(self, text=hint, style="Hint.TLabel", wraplength=WRAP).grid(
                row=self._rows + 1, column=1, sticky="w"
            )
        self._rows += 2
        return variable


class ApplicationDialog(tk.Toplevel):
    """Describe an application that is new, or change one. `on_done` is called when the catalogue has it."""

    def __init__(
        self, parent: tk.Misc, applications: Applications, entry: CatalogueEntry | None, on_done: Callable[[], None]
    ) -> None:
        super().__init__(parent, background=PAPER, padx=20, pady=16)
        self.title("Add an application" if entry is None else f"Change {entry.display_name}")
        self.transient(parent.winfo_toplevel())
        self._applications, self._entry, self._on_done = applications, entry, on_done
        self._installed = {each.entry_id: each for each in installed_applications() if each.is_shown}
        self.columnconfigure(0, weight=1)
        if entry is None:
            self._offer_installed()
        form = Form(self)
        form.grid(row=2, column=0, sticky="ew", pady=(8, 0))
        self._display_name = form.field("Display name", entry.display_name if entry else "")
        if entry is None:
            self._key = form.field("Name", hint="Unique in the catalog, without white space.")
        self._program = form.field("Program", entry.launch_path if entry else "", browse=lambda: self._file("Program"))
        self._parameters = form.field("Launch parameters", entry.launch_parameters if entry else "")
        self._directory = form.field(
            "Working directory",
            entry.working_directory if entry else "",
            browse=lambda: filedialog.askdirectory(parent=self),
        )
        hint = "PNG, JPEG or BMP, at most 256 × 256. Leave it empty to " + ("keep the icon." if entry else "find one.")
        self._icon = form.field("Icon", browse=lambda: self._file("Icon"), hint=hint)
        self._problem = ttk.Label(self, style="Bad.TLabel", wraplength=WRAP)
        self._problem.grid(row=3, column=0, sticky="w", pady=(10, 0))
        buttons = ttk.Frame(self)
        buttons.grid(row=4, column=0, sticky="e", pady=(12, 0))
        ttk.Button(buttons, text="Cancel", command=self.destroy).pack(side="left", padx=(0, 8))
        ttk.Button(buttons, text="Save", style="Accent.TButton", command=self._save).pack(side="left")
        self.bind("<Escape>", lambda _: self.destroy())
        self.minsize(720, 300)

    def _offer_installed(self) -> None:
        ttk.Label(self, text="Installed applications", style="Strong.TLabel").grid(row=0, column=0, sticky="w")
        listing = Listing(
            self, [("Application", 320), ("Program", 340)], height=4, on_choose=lambda: self._take(listing.chosen)
        )
        listing.grid(row=1, column=0, sticky="ew", pady=(6, 4))
        listing.show([(key, each.icon, (each.display_name, each.launch_path)) for key, each in self._installed.items()])

    def _take(self, key: str | None) -> None:
        """Fill the fields with what is known of an installed application."""
        found: InstalledApplication | None = self._installed.get(key or "")
        if found is None or not hasattr(self, "_problem"):
            return
        self._display_name.set(found.display_name)
        self._key.set(found.entry_id.rsplit(".", 1)[-1].replace(" ", "_"))
        self._program.set(found.launch_path)
        self._parameters.set(found.launch_parameters)
        self._directory.set(found.working_directory)

    def _file(self, title: str) -> str:
        return str(
            filedialog.askopenfilename(parent=self, title=title, initialdir="/usr/bin" if title == "Program" else "/")
            or ""
        )

    def _save(self) -> None:
        wishes = ApplicationWishes(
            name=self._entry.name if self._entry else self._key.get().strip(),
            absolute_app_path=self._program.get().strip(),
            display_name=self._display_name.get().strip() or None,
            working_directory=self._directory.get().strip(),
            launch_parameters=self._parameters.get().strip(),
            absolute_icon_path=self._icon.get().strip() or None,
        )
        try:
            if self._entry is None:
                self._applications.add(wishes)
            else:
                self._applications.update(wishes)
        except (AssistantRefuses, OSError) as error:
            self._problem.configure(text=str(error))
            return
        self._on_done()
        self.destroy()
