"""Colours, fonts and the looks of every kind of control."""

import tkinter as tk
from tkinter import font, ttk

INK, FAINT, PAPER, LINE = "#20262e", "#5d6b7c", "#f6f8fa", "#d5dce4"
SIDE, SIDE_INK, SIDE_FAINT = "#20262e", "#ffffff", "#9fb0c3"
ACCENT, ACCENT_DARK, GOOD, BAD = "#1f6fb2", "#195a91", "#2c7a4b", "#a8322d"
FAMILY = "DejaVu Sans"
TEXT, SMALL, STRONG, TITLE = (FAMILY, 10), (FAMILY, 9), (FAMILY, 10, "bold"), (FAMILY, 16, "bold")


def apply(window: tk.Tk) -> None:
    window.configure(background=PAPER)
    for name in ("TkDefaultFont", "TkTextFont", "TkMenuFont", "TkHeadingFont"):
        font.nametofont(name, root=window).configure(family=FAMILY, size=TEXT[1])
    style = ttk.Style(window)
    style.theme_use("clam")
    style.configure(".", background=PAPER, foreground=INK, font=TEXT, bordercolor=LINE, focuscolor=ACCENT)
    style.configure("Title.TLabel", font=TITLE)
    style.configure("Hint.TLabel", foreground=FAINT)
    style.configure("Strong.TLabel", font=STRONG)
    style.configure("Good.TLabel", foreground=GOOD, font=STRONG)
    style.configure("Bad.TLabel", foreground=BAD, font=STRONG)
    style.configure("TEntry", fieldbackground="#ffffff", padding=6, lightcolor=LINE, darkcolor=LINE)
    style.map("TEntry", bordercolor=[("focus", ACCENT)], lightcolor=[("focus", ACCENT)])
    style.configure("TCheckbutton", background=PAPER, indicatorsize=16, padding=4)
    style.map("TCheckbutton", background=[("active", PAPER)])
    style.configure(
        "TButton", padding=(14, 7), background="#e7ecf1", borderwidth=1, lightcolor="#e7ecf1", darkcolor="#e7ecf1"
    )
    style.map(
        "TButton", background=[("disabled", "#eef1f4"), ("active", "#d8e0e8")], foreground=[("disabled", "#a3aeba")]
    )
    style.configure(
        "Accent.TButton",
        background=ACCENT,
        foreground="#ffffff",
        bordercolor=ACCENT,
        lightcolor=ACCENT,
        darkcolor=ACCENT,
    )
    style.map(
        "Accent.TButton",
        background=[("disabled", "#b9c9d8"), ("active", ACCENT_DARK)],
        bordercolor=[("disabled", "#b9c9d8")],
        lightcolor=[("disabled", "#b9c9d8"), ("active", ACCENT_DARK)],
        darkcolor=[("disabled", "#b9c9d8"), ("active", ACCENT_DARK)],
        foreground=[("disabled", "#ffffff")],
    )
    style.configure(
        "Treeview",
        rowheight=44,
        background="#ffffff",
        fieldbackground="#ffffff",
        borderwidth=1,
        lightcolor=LINE,
        darkcolor=LINE,
    )
    style.map("Treeview", background=[("selected", "#dcebf7")], foreground=[("selected", INK)])
    style.configure("Treeview.Heading", font=STRONG, padding=8, background="#e7ecf1", relief="flat")
    style.configure("Horizontal.TProgressbar", background=ACCENT, troughcolor="#e7ecf1", bordercolor=LINE)
