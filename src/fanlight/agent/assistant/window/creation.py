"""The last two steps: what the image is called, and its creation."""

import queue
import threading
from dataclasses import replace
from tkinter import ttk

from fanlight.agent.assistant.image_wishes import ImageWishes, check_image_name, request_of, tags_of
from fanlight.agent.assistant.refusals import AssistantRefuses
from fanlight.agent.assistant.window.forms import Form
from fanlight.agent.assistant.window.steps import Step

POLL_IN_MILLISECONDS = 100


class ConfigureStep(Step):
    title = "Configure the image"
    hint = "What administrators see of it. An image never changes any more: for a change, another one is made."

    def build(self) -> None:
        form = Form(self)
        form.pack(fill="x")
        self._image_name = form.field("Name", hint="Letters, digits, dots, hyphens and underscores; at most 100.")
        self._display_name = form.field("Display name")
        self._description = form.field("Description")
        self._tags = form.field("Tags", hint="key=value, separated by commas.")
        self._latest = form.switch(
            "Always use the latest agent version",
            value=True,
            hint="Otherwise instances of this image keep the agent of today. This cannot be changed later.",
        )

    def leave(self) -> str:
        pairs = [each.partition("=") for each in self._tags.get().split(",") if each.strip()]
        try:
            check_image_name(self._image_name.get().strip())
            self.work.wishes = ImageWishes(
                name=self._image_name.get().strip(),
                display_name=self._display_name.get().strip(),
                description=self._description.get().strip(),
                uses_latest_agent_version=self._latest.get(),
                tags=tags_of([word.strip() for key, _, value in pairs for word in (key, value)]),
            )
        except AssistantRefuses as error:
            return str(error)
        return ""


class CreateStep(Step):
    title = "Review and create"
    hint = "Creating the image ends this session within moments. The image builder stops by itself when the image is there; you can start it again."

    def build(self) -> None:
        self._summary = ttk.Frame(self)
        self._summary.pack(fill="x")
        self._summary.columnconfigure(1, weight=1)
        bar = ttk.Frame(self)
        bar.pack(fill="x", pady=(18, 0))
        self._check = ttk.Button(bar, text="Check only", command=lambda: self._begin(is_dry_run=True))
        self._create = ttk.Button(
            bar, text="Create image", style="Accent.TButton", command=lambda: self._begin(is_dry_run=False)
        )
        self._create.pack(side="left", padx=(0, 8))
        self._check.pack(side="left")
        self._progress = ttk.Progressbar(self, mode="indeterminate")
        self._answers: queue.Queue[tuple[str, bool]] = queue.Queue()

    def enter(self) -> None:
        self.say("")
        wishes = self.work.wishes
        entries = self.work.entries()
        names = ", ".join(entry.display_name for entry in entries) or "none – users will see the desktop only"
        rows = {
            "Name": wishes.name,
            "Display name": wishes.display_name or "–",
            "Description": wishes.description or "–",
            "Tags": ", ".join(f"{key}={value}" for key, value in wishes.tags.items()) or "–",
            "Agent version": "always the latest" if wishes.uses_latest_agent_version else "the one of today",
            f"Applications ({len(entries)})": names,
        }
        for child in self._summary.winfo_children():
            child.destroy()
        for number, (label, text) in enumerate(rows.items()):
            ttk.Label(self._summary, text=label, style="Hint.TLabel").grid(
                row=number, column=0, sticky="nw", padx=(0, 24), pady=4
            )
            ttk.Label(self._summary, text=text, wraplength=480, justify="left").grid(
                row=number, column=1, sticky="w", pady=4
            )

    def _begin(self, *, is_dry_run: bool) -> None:
        try:
            request = request_of(replace(self.work.wishes, is_dry_run=is_dry_run), self.work.applications.catalogue)
        except (AssistantRefuses, OSError) as error:
            self.say(str(error), is_problem=True)
            return
        self._set_busy(is_busy=True)
        self.note.configure(text="Checking…" if is_dry_run else "Asking for the image…", style="TLabel")
        parts = [part.text for part in request.parts()]
        done = (
            "Everything is fine: the image can be created."
            if is_dry_run
            else "The image is being created. This session ends in a moment."
        )

        def ask() -> None:
            try:
                self.work.ask("create_image", parts=parts, request_id=request.request_id)
                self._answers.put((done, False))
            except AssistantRefuses as error:
                self._answers.put((str(error), True))

        threading.Thread(target=ask, daemon=True).start()
        self._look(is_dry_run=is_dry_run)

    def _look(self, *, is_dry_run: bool) -> None:
        """Tk is for one thread only: look now and then whether the other has an answer."""
        try:
            text, is_problem = self._answers.get_nowait()
        except queue.Empty:
            self.after(POLL_IN_MILLISECONDS, lambda: self._look(is_dry_run=is_dry_run))
            return
        self._set_busy(is_busy=False)
        self.say(text, is_problem=is_problem)
        if not is_problem and not is_dry_run:
            self._create.state(["disabled"])
            self._check.state(["disabled"])

    def _set_busy(self, *, is_busy: bool) -> None:
        for button in (self._create, self._check):
            button.state(["disabled" if is_busy else "!disabled"])
        if is_busy:
            self._progress.pack(fill="x", pady=(14, 0), before=self.note)
            self._progress.start(12)
        else:
            self._progress.stop()
            self._progress.pack_forget()
