"""Desktop entries: what becomes an application, and what is left out."""

import pytest

from fanlight.domain.desktop_entries import MOST_APPLICATIONS, find_applications
from fanlight.domain.images import Application

PROGRAMS = {"/usr/bin/gimp", "/usr/bin/env", "/opt/cad/bin/cad"}
GOOD = "[Desktop Entry]\nType=Application\nName=GIMP\nComment=Paint\nExec=gimp --new %U\nIcon=gimp\n"


def found(text: str, name: str = "gimp.desktop") -> list[Application]:
    return [one.application for one in find_applications({name: text}, PROGRAMS.__contains__)]


def test_an_entry_becomes_an_application() -> None:
    (one,) = find_applications({"gimp.desktop": GOOD}, PROGRAMS.__contains__)
    assert one.icon == "gimp"
    assert one.application == Application(
        name="gimp",
        display_name="GIMP",
        description="Paint",
        launch_path="/usr/bin/gimp",
        launch_parameters="--new",
    )


def test_quotes_and_percent_signs_are_kept_and_field_codes_go() -> None:
    text = GOOD.replace("Exec=gimp --new %U", 'Exec="/opt/cad/bin/cad" "a b" 100%% --file=%f %i %c')
    (one,) = found(text)
    assert (one.launch_path, one.launch_parameters) == ("/opt/cad/bin/cad", "'a b' 100% --file=")


def test_a_name_with_other_letters_is_made_usable() -> None:
    (one,) = found(GOOD, "org.gnu .gimp ü.desktop")
    assert one.name == "org.gnu-.gimp-"


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("Type=Application", "Type=Link"),
        GOOD + "NoDisplay=true\n",
        GOOD + "Hidden=true\n",
        GOOD + "Terminal=true\n",
        GOOD + "OnlyShowIn=GNOME;\n",
        GOOD.replace("gimp --new", "absent"),
        GOOD.replace("gimp --new", "/usr/bin/../bin/gimp"),
        GOOD.replace("Exec=gimp --new %U\n", ""),
        GOOD.replace("gimp --new", 'gimp "unclosed'),
        GOOD.replace("[Desktop Entry]", "[Desktop"),
        "",
        "\0\0",
    ],
)
def test_what_users_could_not_start_is_left_out(text: str) -> None:
    assert found(text) == []


def test_texts_are_one_line_of_bounded_length() -> None:
    (one,) = found(GOOD.replace("Name=GIMP", "Name=" + "G\x1b[2J" * 500))
    assert len(one.display_name) == 256
    assert one.display_name.isprintable()


def test_a_thousand_entries_give_as_many_applications_as_an_image_may_have() -> None:
    entries = {f"e{number}.desktop": GOOD for number in range(1000)}
    assert len(find_applications(entries, PROGRAMS.__contains__)) == MOST_APPLICATIONS
