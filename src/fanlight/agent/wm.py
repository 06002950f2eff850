"""What the window manager and the desktop are told, in the two stream views."""

from pathlib import Path
from xml.sax.saxutils import escape

MENU = "/usr/share/fanlight/menu.xml"  # made with the image from its recipe; an image may have none
LAUNCHERS = "/usr/share/fanlight/launchers"  # desktop entries of the catalogue, for the panel

# APP view: an application's main windows fill the stream; what it opens beside them keeps its size. The title bar
# stays, because without it a user could not close or leave a program that draws none itself. No desktops, no panel.
_APP_RULES = """<application type="normal"><maximized>yes</maximized><decor>yes</decor></application>"""

_MENU_KEY = """<keybind key="A-F1"><action name="ShowMenu"><menu>root-menu</menu><position><x>4</x><y>-44</y></position></action></keybind>"""

_TEMPLATE = """<?xml version="1.0" encoding="UTF-8"?>
<openbox_config xmlns="http://openbox.org/3.4/rc">
  <focus><focusNew>yes</focusNew><followMouse>no</followMouse><raiseOnFocus>no</raiseOnFocus></focus>
  <placement><policy>Smart</policy><center>yes</center></placement>
  <theme><name>Clearlooks</name><titleLayout>{title}</titleLayout><keepBorder>no</keepBorder>
    <font place="ActiveWindow"><name>DejaVu Sans</name><size>9</size></font>
    <font place="InactiveWindow"><name>DejaVu Sans</name><size>9</size></font>
    <font place="MenuHeader"><name>DejaVu Sans</name><size>10</size></font>
    <font place="MenuItem"><name>DejaVu Sans</name><size>10</size></font></theme>
  <desktops><number>1</number><popupTime>0</popupTime></desktops>
  <keyboard>
    <keybind key="A-Tab"><action name="NextWindow"><finalactions><action name="Focus"/><action name="Raise"/></finalactions></action></keybind>
    <keybind key="A-F4"><action name="Close"/></keybind>
    {menu_key}
  </keyboard>
  <mouse>
    <context name="Frame"><mousebind button="A-Left" action="Drag"><action name="Move"/></mousebind></context>
    <context name="Titlebar">
      <mousebind button="Left" action="Press"><action name="Focus"/><action name="Raise"/></mousebind>
      <mousebind button="Left" action="Drag"><action name="Move"/></mousebind>
      <mousebind button="Left" action="DoubleClick"><action name="ToggleMaximize"/></mousebind>
    </context>
    <context name="Top Bottom Left Right TLCorner TRCorner BLCorner BRCorner">
      <mousebind button="Left" action="Drag"><action name="Resize"/></mousebind>
    </context>
    <context name="Client">
      <mousebind button="Left" action="Press"><action name="Focus"/><action name="Raise"/></mousebind>
      <mousebind button="Right" action="Press"><action name="Focus"/><action name="Raise"/></mousebind>
    </context>
    <context name="Close"><mousebind button="Left" action="Click"><action name="Close"/></mousebind></context>
    <context name="Maximize"><mousebind button="Left" action="Click"><action name="ToggleMaximize"/></mousebind></context>
    <context name="Iconify"><mousebind button="Left" action="Click"><action name="Iconify"/></mousebind></context>
    <context name="Root">
      <mousebind button="Right" action="Press"><action name="ShowMenu"><menu>{root_menu}</menu></action></mousebind>
      <mousebind button="Left" action="Press"><action name="Focus"/></mousebind>
    </context>
  </mouse>
  <menu>{menu_file}<hideDelay>500</hideDelay></menu>
  <applications>{rules}</applications>
</openbox_config>
"""

# Backgrounds come first: one that is named before it is described is blue.
_PANEL = """rounded = 0
border_width = 0
background_color = #20262e 100
border_color = #20262e 100
rounded = 4
border_width = 0
background_color = #3a4656 100
border_color = #3a4656 100
panel_items = LTSC
panel_background_id = 1
panel_position = bottom center horizontal
panel_size = 100% 40
panel_layer = top
wm_menu = 1
taskbar_mode = single_desktop
task_text = 1
task_icon = 1
task_maximum_size = 220 36
task_padding = 8 4 8
task_active_background_id = 2
task_font = DejaVu Sans 10
task_font_color = #e8ecf1 100
launcher_padding = 8 4 8
launcher_icon_size = 28
launcher_tooltip = 1
launcher_apps_dir = {launchers}
time1_format = %H:%M
time1_font = DejaVu Sans 10
clock_font_color = #e8ecf1 100
clock_padding = 10 0
"""


def panel_config(launchers: str) -> str:
    """Return what the panel is told; `launchers` is a directory of desktop entries."""
    return _PANEL.format(launchers=launchers)


def openbox_config(stream_view: str, menu: str | None) -> str:
    """Return rc.xml for APP or DESKTOP; `menu` is the file of the background's menu."""
    is_desktop = stream_view == "DESKTOP"
    menu_file = f"<file>{escape(menu)}</file>" if menu and Path(menu).exists() else ""
    return _TEMPLATE.format(
        # In APP view there is no panel to bring an iconified window back.
        title="NLIMC" if is_desktop else "NLMC",
        rules="" if is_desktop else _APP_RULES,
        root_menu="root-menu" if is_desktop else "client-list-combined-menu",
        menu_file=menu_file,
        menu_key=_MENU_KEY if menu_file else "",
    )
