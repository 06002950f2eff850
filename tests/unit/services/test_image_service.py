"""Images, their catalogue files, tags and access keys."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from service_rig import ELSEWHERE, HERE, NOW, OTHER_REGION, SAMPLE, SAMPLE_ARN, Rig, new_fleet

from fanlight.domain.errors import InvalidCombination, InvalidPageToken, LimitExceeded, NotFound
from fanlight.domain.images import Application, Image, ImageState, Visibility
from fanlight.domain.places import Scope
from fanlight.domain.policies import read_only_policy
from fanlight.services.image_catalogues import ImageManifest, read_catalogues
from fanlight.services.stacks import NewStack


async def names(rig: Rig, scope: Scope = HERE, **asked: Any) -> list[str]:
    page, _ = await rig.services.images.describe(scope, **asked)
    return [described.image.name for described in page]


async def add_private(rig: Rig, name: str, scope: Scope = HERE) -> None:
    async with rig.transactions.begin(write=True) as work:
        await work.images.add(Image(image_id=f"{name}{scope}", scope=scope, name=name, store_ref="x", created_at=NOW))
        await work.commit()


async def test_a_manifest_becomes_a_public_image_seen_in_every_scope(rig: Rig) -> None:
    for scope in (HERE, *ELSEWHERE):
        (described,), token = await rig.services.images.describe(scope)
        image = described.image
        assert image.arn_in(scope.region) == f"arn:aws:appstream:{scope.region}::image/Sample"
        assert token is None
    assert image == Image(
        image_id=image.image_id,
        scope=Scope("", ""),
        name="Sample",
        store_ref="sample",
        state=ImageState.AVAILABLE,
        visibility=Visibility.PUBLIC,
        image_builder_supported=True,
        display_name="Sample image",
        description="Two applications",
        applications=SAMPLE.applications,
        base_image_arn="arn:aws:appstream:::image/Base",
        agent_version="0.1.0",
        created_at=NOW,
        public_base_image_released_at=NOW,
    )
    editor, _ = image.applications
    url = str(rig.services.icons.url(image, editor))
    assert url.startswith("https://apps.example.org/icons/sample/editor.png?expires=1774753200&signature=")
    assert rig.services.icons.url(image, replace(editor, icon=None)) is None


async def test_a_changed_manifest_changes_the_image_and_an_unchanged_one_writes_nothing(rig: Rig) -> None:
    revision = rig.transactions.revision()
    await rig.services.images.sync_public_images([SAMPLE])
    assert rig.transactions.revision() == revision
    await rig.services.images.sync_public_images([replace(SAMPLE, store_ref="sample-2"), replace(SAMPLE, name="New")])
    page, _ = await rig.services.images.describe(HERE)
    assert [(one.image.name, one.image.store_ref, one.image.version) for one in page] == [
        ("New", "sample", 0),
        ("Sample", "sample-2", 1),
    ]


async def test_images_are_chosen_by_name_arn_and_type(rig: Rig) -> None:
    await add_private(rig, "Mine")
    await add_private(rig, "Sample")
    await add_private(rig, "Theirs", OTHER_REGION)
    assert await names(rig) == ["Mine", "Sample", "Sample"]
    assert await names(rig, names=["Mine"]) == ["Mine"]
    assert await names(rig, names=["Sample"]) == ["Sample", "Sample"]
    assert await names(rig, arns=[SAMPLE_ARN]) == ["Sample"]
    assert await names(rig, visibility=Visibility.PUBLIC) == ["Sample"]
    assert await names(rig, visibility=Visibility.PRIVATE) == ["Mine", "Sample"]
    assert await names(rig, visibility=Visibility.SHARED) == []
    for wrong, text in (
        ({"names": ["Sample", "Theirs"]}, "The image Theirs does not exist."),
        ({"arns": [SAMPLE_ARN, f"{SAMPLE_ARN}x"]}, f"The image {SAMPLE_ARN}x does not exist."),
    ):
        with pytest.raises(NotFound) as raised:
            await names(rig, **wrong)
        assert str(raised.value) == text
    with pytest.raises(InvalidCombination, match=r"Names and Arns exclude each other\."):
        await names(rig, names=["Sample"], arns=[SAMPLE_ARN])


async def test_pages_of_images_follow_each_other(rig: Rig) -> None:
    await rig.services.images.sync_public_images([replace(SAMPLE, name=f"Image-{n:02}") for n in range(30)])
    first, token = await rig.services.images.describe(HERE, limit=0)
    assert (len(first), token is None) == (25, False)
    rest, end = await rig.services.images.describe(HERE, next_token=token)
    assert ([one.image.name for one in rest], end) == (
        ["Image-25", "Image-26", "Image-27", "Image-28", "Image-29", "Sample"],
        None,
    )
    with pytest.raises(InvalidPageToken):
        await rig.services.images.describe(HERE, visibility=Visibility.PUBLIC, next_token=token)


# ── Catalogue files ───────────────────────────────────────────────────────────────────────────────────────────────────

CATALOGUE: dict[str, Any] = {
    "store_ref": "sample",
    "name": "Sample",
    "display_name": "Sample image",
    "description": "One application",
    "created_at": "2026-03-29T03:30:00+02:00",
    "agent_version": "0.1.0",
    "base_image_name": None,
    "applications": [
        {
            "name": "Editor",
            "display_name": "Text editor",
            "launch_path": "/usr/bin/editor",
            "launch_parameters": "--new",
            "working_directory": "/",
            "icon": "editor.png",
            "description": "Writes",
        }
    ],
}


def put(directory: Path, content: Any) -> None:
    directory.mkdir(parents=True)
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (directory / "catalogue.json").write_bytes(text)


def test_a_catalogue_file_is_read(tmp_path: Path) -> None:
    put(tmp_path / "sample", CATALOGUE)
    put(tmp_path / ".sample.new", CATALOGUE)
    (tmp_path / "no-catalogue").mkdir()
    assert read_catalogues(tmp_path) == (
        [
            ImageManifest(
                store_ref="sample",
                name="Sample",
                display_name="Sample image",
                description="One application",
                created_at=datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
                agent_version="0.1.0",
                base_image_name=None,
                applications=(
                    Application(
                        name="Editor",
                        display_name="Text editor",
                        launch_path="/usr/bin/editor",
                        launch_parameters="--new",
                        working_directory="/",
                        icon="editor.png",
                        description="Writes",
                    ),
                ),
            )
        ],
        [],
    )
    assert read_catalogues(tmp_path / "missing") == ([], [])


APPLICATION = CATALOGUE["applications"][0]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (1024 * 1024 + 1), "larger than 1048576 bytes"),
        ([], "not a JSON object"),
        ({**CATALOGUE, "name": 7}, "name must be a text"),
        ({**CATALOGUE, "name": "../x"}, "name must match"),
        ({**CATALOGUE, "store_ref": "Sample"}, "store_ref must match"),
        ({**CATALOGUE, "store_ref": "other"}, "store_ref is other, but the directory is sample"),
        ({**CATALOGUE, "created_at": "yesterday"}, "created_at must be an ISO 8601 time"),
        ({**CATALOGUE, "applications": {}}, "applications must be a list of at most 50"),
        ({**CATALOGUE, "applications": [APPLICATION] * 51}, "applications must be a list of at most 50"),
        ({**CATALOGUE, "applications": [APPLICATION] * 2}, "two applications have one name"),
        ({**CATALOGUE, "applications": ["Editor"]}, "an application is not a JSON object"),
        ({**CATALOGUE, "applications": [{**APPLICATION, "icon": "../../etc/passwd"}]}, "icon must match"),
        ({**CATALOGUE, "applications": [{**APPLICATION, "icon": "editor.svg"}]}, "icon must match"),
        ({**CATALOGUE, "applications": [{**APPLICATION, "enabled": "yes"}]}, "enabled must be true or false"),
        ({**CATALOGUE, "applications": [{**APPLICATION, "launch_path": None}]}, "launch_path must be a text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_file_that_is_not_exactly_a_catalogue_is_refused_by_name(
    tmp_path: Path, content: Any, complaint: str
) -> None:
    put(tmp_path / "sample", content)
    manifests, complaints = read_catalogues(tmp_path)
    assert (manifests, len(complaints)) == ([], 1)
    assert complaints[0].startswith(f"{tmp_path}/sample/catalogue.json: {complaint}")


# ── Tags ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_fleets_stacks_and_own_images_carry_tags(rig: Rig) -> None:
    fleet = (await rig.services.fleets.create(HERE, new_fleet(tags={"Team": "cad"}))).fleet
    stack = await rig.services.stacks.create(HERE, NewStack(name="design", tags={"Team": "design"}))
    await add_private(rig, "Mine")
    tags = rig.services.tags
    assert (await tags.of(HERE, fleet.arn), await tags.of(HERE, stack.arn)) == ({"Team": "cad"}, {"Team": "design"})
    for arn in (fleet.arn, stack.arn, HERE.arn("image/Mine")):
        await tags.tag(HERE, arn, {"Team": "new", "Cost": ""})
        assert await tags.of(HERE, arn) == {"Team": "new", "Cost": ""}
        await tags.untag(HERE, arn, ["Team", "absent"])
        assert await tags.of(HERE, arn) == {"Cost": ""}
    await rig.services.stacks.delete(HERE, "design")
    await rig.services.stacks.create(HERE, NewStack(name="design"))
    assert await tags.of(HERE, stack.arn) == {}


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:appstream:us-east-1:000000000000:fleet/lost",
        "arn:aws:appstream:us-east-1:000000000000:fleet/",
        "arn:aws:appstream:us-east-1:000000000000:fleet",
        "arn:aws:appstream:us-east-1:000000000000:app-block/cad",
        "arn:aws:appstream:eu-west-1:000000000000:fleet/cad",
        "arn:aws:appstream:us-east-1:111111111111:fleet/cad",
        "arn:aws:s3:::fleet/cad",
        SAMPLE_ARN,
    ],
)
async def test_what_is_not_of_this_scope_has_no_tags(rig: Rig, arn: str) -> None:
    await rig.services.fleets.create(HERE, new_fleet())
    for attempt in (
        rig.services.tags.tag(HERE, arn, {"a": "b"}),
        rig.services.tags.untag(HERE, arn, ["a"]),
        rig.services.tags.of(HERE, arn),
    ):
        with pytest.raises(NotFound) as raised:
            await attempt
        assert str(raised.value) == f"The resource {arn} does not exist."


async def test_a_resource_has_at_most_fifty_tags(rig: Rig) -> None:
    fleet = (await rig.services.fleets.create(HERE, new_fleet())).fleet
    await rig.services.tags.tag(HERE, fleet.arn, {f"key-{n}": "" for n in range(50)})
    with pytest.raises(LimitExceeded, match="would have more than 50 tags"):
        await rig.services.tags.tag(HERE, fleet.arn, {"key-50": ""})
    await rig.services.tags.tag(HERE, fleet.arn, {"key-0": "new"})
    assert len(await rig.services.tags.of(HERE, fleet.arn)) == 50


# ── Access keys ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_access_keys_are_made_listed_and_removed(rig: Rig) -> None:
    keys = rig.services.access_keys
    made = await keys.create("000000000000")
    assert (len(made.access_key_id), made.access_key_id[:4], len(made.secret_access_key)) == (20, "AKIA", 40)
    assert made.secret_access_key not in repr(made)
    assert (await keys.find(made.access_key_id), await keys.all()) == (made, [made])
    await keys.remove(made.access_key_id)
    assert await keys.find(made.access_key_id) is None
    with pytest.raises(NotFound, match=f"The access key {made.access_key_id} does not exist"):
        await keys.remove(made.access_key_id)


async def test_the_bootstrap_key_is_what_the_operator_says(rig: Rig) -> None:
    keys = rig.services.access_keys
    first = await keys.ensure("AKIABOOT", "secret", "000000000000")
    rig.clock.advance(timedelta(hours=1))
    assert await keys.ensure("AKIABOOT", "secret", "000000000000") == first
    changed = await keys.ensure("AKIABOOT", "changed", "000000000000")
    assert await keys.all() == [changed]
    assert changed.secret_access_key == "changed"


async def test_the_bootstrap_key_is_not_held_by_what_a_key_of_its_id_could_do(rig: Rig) -> None:
    keys = rig.services.access_keys
    limited = await keys.create(
        "000000000000", policy=read_only_policy(), expires_at=rig.clock.now() + timedelta(hours=1)
    )
    free = await keys.ensure(limited.access_key_id, limited.secret_access_key, limited.account_id)
    assert (free.policy, free.expires_at) == (None, None)
    assert await keys.all() == [free]
