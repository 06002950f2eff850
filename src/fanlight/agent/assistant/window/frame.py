"""The window: steps at the left, the page of the step, and the way on and back."""

import tkinter as tk
from pathlib import Path
from tkinter import ttk

from fanlight.agent.assistant.window import style
from fanlight.agent.assistant.window.creation import ConfigureStep, CreateStep
from fanlight.agent.assistant.window.steps import (
    ApplicationsStep,
    DefaultsStep,
    OptimizeStep,
    Step,
    TrialStep,
    Work,
)

STEPS: tuple[type[Step], ...] = (ApplicationsStep, TrialStep, DefaultsStep, OptimizeStep, ConfigureStep, CreateStep)
SHORT = ("Applications", "Test", "Default settings", "Optimize", "Configure image", "Review and create")
SIZE, SMALLEST = "980x640", (860, 560)
PICTURE = Path(__file__).parents[2] / "pictures" / "assistant.png"


class AssistantWindow(tk.Tk):
    def __init__(self, work: Work | None = None) -> None:
        super().__init__(className="Image-assistant")
        self.title("Image Assistant")
        self.geometry(SIZE)
        self.minsize(*SMALLEST)
        style.apply(self)
        if PICTURE.is_file():
            self._picture = tk.PhotoImage(master=self, file=str(PICTURE))
            self.iconphoto(True, self._picture)  # noqa: FBT003 - Tk's signature: for all windows of the program
        self.columnconfigure(1, weight=1)
        self.rowconfigure(0, weight=1)
        side = tk.Frame(self, background=style.SIDE, width=220)
        side.grid(row=0, column=0, rowspan=3, sticky="ns")
        side.grid_propagate(False)  # noqa: FBT003 - Tk's signature
        side.pack_propagate(False)  # noqa: FBT003 - Tk's signature
        self._labels = self._fill(side)
        work = work or Work()
        self._pages = [step(self, work) for step in STEPS]
        ttk.Separator(self).grid(row=1, column=1, sticky="ew")
        foot = ttk.Frame(self, padding=(28, 14))
        foot.grid(row=2, column=1, sticky="ew")
        foot.columnconfigure(0, weight=1)
        self._problem = ttk.Label(foot, style="Bad.TLabel", wraplength=420)
        self._problem.grid(row=0, column=0, sticky="w")
        self._back = ttk.Button(foot, text="Back", command=lambda: self.show(self._at - 1))
        self._back.grid(row=0, column=1, padx=(0, 8))
        self._next = ttk.Button(foot, text="Next", style="Accent.TButton", command=lambda: self.show(self._at + 1))
        self._next.grid(row=0, column=2)
        self._at = 0
        self._pages[0].grid(row=0, column=1, sticky="nsew")
        self.show(0)

    def show(self, number: int) -> None:
        """Go to a step; going on from one that holds back says why it does."""
        if not 0 <= number < len(self._pages):
            return
        problem = next((why for page in self._pages[self._at : number] if (why := page.leave())), "")
        self._problem.configure(text=problem)
        if problem:
            return
        self._pages[self._at].grid_remove()
        self._at = number
        self._pages[number].grid(row=0, column=1, sticky="nsew")
        self._pages[number].enter()
        self._back.state(["disabled" if number == 0 else "!disabled"])
        if number == len(self._pages) - 1:
            self._next.grid_remove()
        else:
            self._next.grid()
        for each, label in enumerate(self._labels):
            is_here = each == number
            label.configure(
                foreground=style.SIDE_INK if is_here else style.SIDE_FAINT, font=style.STRONG if is_here else style.TEXT
            )

    def _fill(self, side: tk.Frame) -> list[tk.Label]:
        head = tk.Frame(side, background=style.SIDE)
        head.pack(fill="x", padx=20, pady=(24, 22))
        if PICTURE.is_file():
            self._small = self._picture.subsample(2)
            tk.Label(head, image=self._small, background=style.SIDE).pack(side="left", padx=(0, 10))
        tk.Label(
            head, text="Image Assistant", background=style.SIDE, foreground=style.SIDE_INK, font=style.STRONG
        ).pack(side="left")
        labels = []
        for number, name in enumerate(SHORT):
            label = tk.Label(
                side,
                text=f"{number + 1}   {name}",
                anchor="w",
                padx=20,
                pady=9,
                background=style.SIDE,
                foreground=style.SIDE_FAINT,
                cursor="hand2",
            )
            label.pack(fill="x")
            label.bind("<Button-1>", lambda _, n=number: self.show(n))  # type: ignore[misc]  # each label its own number
            labels.append(label)
        return labels
