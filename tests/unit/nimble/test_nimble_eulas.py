"""EULAs: the operator's file, the catalogue, and what a studio accepted."""

from pathlib import Path

import pytest
from test_nimble_streaming_images import add_image

from fanlight.domain.nimble.eulas import Eula
from fanlight.eulas_file import EulasFileInvalid, read_eulas
from nimble_rig import EULAS, KEY, Studio, ask, new_profile


async def test_the_catalogue_is_read_page_by_page_and_by_ids(studio: Studio) -> None:
    def read() -> list[list[str]]:
        pages = studio.api.get_paginator("list_eulas").paginate()
        return [[eula["eulaId"] for eula in page["eulas"]] for page in pages]

    pages = await ask(read)
    assert [len(page) for page in pages] == [50, 10]
    assert [one for page in pages for one in page] == sorted(eula.eula_id for eula in EULAS)
    found = (await ask(studio.api.get_eula, eulaId=EULAS[3].eula_id))["eula"]
    del found["createdAt"], found["updatedAt"]
    assert found == {"content": "https://example.com/eula", "eulaId": EULAS[3].eula_id, "name": "Eula 3"}
    some = await ask(studio.api.list_eulas, eulaIds=[EULAS[1].eula_id, "unknown", EULAS[2].eula_id])
    assert {eula["name"] for eula in some["eulas"]} == {"Eula 1", "Eula 2"}
    with pytest.raises(studio.api.exceptions.ResourceNotFoundException):
        await ask(studio.api.get_eula, eulaId="unknown")


async def test_an_acceptance_is_made_once_for_a_studio(studio: Studio) -> None:
    wanted = [EULAS[0].eula_id, EULAS[1].eula_id]
    accepted = (await studio.call("accept_eulas", eulaIds=wanted))["eulaAcceptances"]
    assert [one["eulaId"] for one in accepted] == wanted
    assert {(one["accepteeId"], one["acceptedBy"]) for one in accepted} == {(studio.studio_id, KEY.access_key_id)}
    again = (await studio.call("accept_eulas", eulaIds=[*reversed(wanted), *wanted]))["eulaAcceptances"]
    assert sorted(one["eulaAcceptanceId"] for one in again) == sorted(one["eulaAcceptanceId"] for one in accepted)
    listed = (await studio.call("list_eula_acceptances"))["eulaAcceptances"]
    assert {one["eulaId"] for one in listed} == set(wanted)
    one = (await studio.call("list_eula_acceptances", eulaIds=wanted[:1]))["eulaAcceptances"]
    assert [each["eulaId"] for each in one] == wanted[:1]


async def test_what_is_not_accepted(studio: Studio) -> None:
    for nothing in ({}, {"eulaIds": []}):
        with pytest.raises(studio.api.exceptions.ValidationException):
            await studio.call("accept_eulas", **nothing)
    with pytest.raises(studio.api.exceptions.ResourceNotFoundException):
        await studio.call("accept_eulas", eulaIds=[EULAS[0].eula_id, "unknown"])
    assert (await studio.call("list_eula_acceptances"))["eulaAcceptances"] == []
    await studio.call("accept_eulas", eulaIds=[EULAS[0].eula_id], clientToken="t")
    with pytest.raises(studio.api.exceptions.ValidationException, match="other parameters"):
        await studio.call("accept_eulas", eulaIds=[EULAS[1].eula_id], clientToken="t")


async def test_a_studio_must_accept_what_its_images_come_with(studio: Studio) -> None:
    eulas = studio.nimble.services.nimble.eulas
    required = eulas.required_by("sample")
    assert set(required) == {eula.eula_id for eula in EULAS}
    assert eulas.required_by("other") == ()
    await studio.call("accept_eulas", eulaIds=list(required[:50]))
    async with studio.nimble.store.transactions.begin() as work:
        scope = (await work.nimble.resources.find(studio.studio_id)).scope  # type: ignore[union-attr]
        assert await eulas.missing(work, scope, studio.studio_id, required) == required[50:]
        assert await eulas.missing(work, scope, studio.studio_id, ("withdrawn",)) == ()


async def test_no_session_begins_before_what_its_image_comes_with_is_accepted(studio: Studio) -> None:
    image = await add_image(studio, name="sample")
    made = await studio.call("create_streaming_image", ec2ImageId=image.ami_id, name="artists")
    eula_ids, image_id = made["streamingImage"]["eulaIds"], made["streamingImage"]["streamingImageId"]
    assert set(eula_ids) == {eula.eula_id for eula in EULAS}
    profile = await studio.call("create_launch_profile", **new_profile(await studio.component(), image_id))
    wanted = {"launchProfileId": profile["launchProfile"]["launchProfileId"]}
    await studio.call("accept_eulas", eulaIds=eula_ids[1:])
    with pytest.raises(studio.api.exceptions.ValidationException, match=eula_ids[0]):
        await studio.call("create_streaming_session", **wanted)
    await studio.call("accept_eulas", eulaIds=eula_ids[:1])
    await studio.call("create_streaming_session", **wanted)


@pytest.mark.parametrize("quotas", ["Nimble Studio custom streaming images=1"])
async def test_a_streaming_image_more_than_the_quota_is_402(studio: Studio) -> None:
    wanted = {"ec2ImageId": (await add_image(studio)).ami_id, "name": "artists"}
    await studio.call("create_streaming_image", **wanted)
    with pytest.raises(studio.api.exceptions.ServiceQuotaExceededException):
        await studio.call("create_streaming_image", **wanted)


def test_the_file_says_names_texts_and_images(tmp_path: Path) -> None:
    file = tmp_path / "eulas.toml"
    file.write_text('[[eula]]\nname = "Blender"\ncontent = "GPL"\nimages = ["sample"]\n')
    (eula,) = read_eulas(file)
    assert (eula.name, eula.content, eula.images, len(eula.eula_id)) == ("Blender", "GPL", ("sample",), 22)
    assert read_eulas(None) == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[eula]]", "wrong at eula.0.name"),
        ('[[eula]]\nname = "a"\ncontent = "b"\nimage = "c"', "wrong at eula.0.image"),
        ('[[eula]]\nname = "a"\ncontent = "b"\n' * 2, "more than once: a"),
        ("eula = ", "is not TOML"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused_whole(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "eulas.toml"
    file.write_text(text)
    with pytest.raises(EulasFileInvalid, match=complaint):
        read_eulas(file)
    with pytest.raises(EulasFileInvalid, match="cannot be read"):
        read_eulas(tmp_path / "absent.toml")


def test_no_id_is_an_option_to_a_command_line() -> None:
    made = {
        Eula(name=f"eula-{number}", content="text", written_at=EULAS[0].written_at).eula_id for number in range(300)
    }
    assert len(made) == 300
    assert not [eula_id for eula_id in made if eula_id.startswith("-")]
