"""A list of applications with their pictures."""

import tkinter as tk
from collections.abc import Callable, Sequence
from pathlib import Path
from tkinter import ttk

from PIL import Image, ImageTk

PICTURE = 32


class Listing(ttk.Frame):
    """Rows of a key, a picture and texts; `on_choose` is called when another row is chosen, or opened."""

    def __init__(
        self,
        parent: tk.Misc,
        headings: Sequence[tuple[str, int]],
        *,
        height: int = 8,
        on_choose: Callable[[], None] = lambda: None,
        on_open: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(parent)
        names = [f"c{number}" for number in range(1, len(headings))]
        self._tree = ttk.Treeview(self, columns=names, selectmode="browse", height=height)
        for name, (heading, width) in zip(("#0", *names), headings, strict=True):
            self._tree.heading(name, text=heading, anchor="w")
            self._tree.column(name, width=width, minwidth=60, anchor="w")
        bar = ttk.Scrollbar(self, command=self._tree.yview)
        self._tree.configure(yscrollcommand=bar.set)
        self._tree.grid(row=0, column=0, sticky="nsew")
        bar.grid(row=0, column=1, sticky="ns")
        self.columnconfigure(0, weight=1)
        self.rowconfigure(0, weight=1)
        self._pictures: list[ImageTk.PhotoImage] = []  # Tk itself does not keep them
        self._tree.bind("<<TreeviewSelect>>", lambda _: on_choose())
        self._tree.bind("<Double-1>", lambda _: on_open())
        self._tree.bind("<Return>", lambda _: on_open())

    def show(self, rows: Sequence[tuple[str, Path | None, Sequence[str]]]) -> None:
        """Show these rows; the one that was chosen stays chosen if it is still there."""
        before = self.chosen
        self._tree.delete(*self._tree.get_children())
        self._pictures = []
        for key, picture, (first, *rest) in rows:
            image = _picture(picture)
            if image is not None:
                self._pictures.append(image)
            self._tree.insert("", "end", iid=key, text=f"  {first}", values=rest, image=image or "")
        keys = [key for key, _, _ in rows]
        if keys:
            self._tree.selection_set(before if before in keys else keys[0])

    @property
    def chosen(self) -> str | None:
        selected = self._tree.selection()
        return selected[0] if selected else None


def _picture(path: Path | None) -> ImageTk.PhotoImage | None:
    if path is None or path.suffix == ".svg":
        return None
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    image.thumbnail((PICTURE, PICTURE), Image.Resampling.LANCZOS)
    return ImageTk.PhotoImage(image)
