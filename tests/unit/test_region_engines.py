"""A region may have an engine of its own; engines must not be in each other's way."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from fanlight.config import Settings

OTHER_INCUS = "socket=/run/incus-eu/unix.socket,network=fanlight1,subnet=10.125.0.1/16"


def settings(*engines: str) -> Settings:
    return Settings(region_engines=engines)  # type: ignore[arg-type] # as the command line gives them


def test_without_the_setting_one_engine_serves_every_region() -> None:
    (engine,) = Settings().engines
    assert (engine.name, engine.regions, engine.settings) == ("", Settings().regions, Settings())


def test_a_region_gets_what_is_named_and_the_rest_of_the_common_engine() -> None:
    common, west, europe = settings(
        "us-west-2:project=fl-west,pool=fast,pool_size_in_gib=50", f"eu-west-1:project=fl-eu,{OTHER_INCUS}"
    ).engines
    assert [engine.regions for engine in (common, west, europe)] == [("us-east-1",), ("us-west-2",), ("eu-west-1",)]
    assert [engine.is_sharing for engine in (common, west, europe)] == [True, True, False]
    at = west.settings
    assert (at.incus_project, at.incus_pool, at.incus_pool_size_in_gib) == ("fl-west", "fast", 50)
    assert (at.incus_socket, at.incus_network) == (common.settings.incus_socket, common.settings.incus_network)
    at = europe.settings
    assert (at.incus_socket, at.incus_network) == (Path("/run/incus-eu/unix.socket"), "fanlight1")
    assert (at.incus_subnet, at.incus_pool) == ("10.125.0.1/16", common.settings.incus_pool)


def test_two_regions_may_share_an_engine() -> None:
    engines = settings("us-west-2:project=abroad,pool=p", "eu-west-1:project=abroad,pool=p").engines
    assert [(engine.name, engine.regions) for engine in engines] == [
        ("", ("us-east-1",)),
        ("us-west-2", ("us-west-2", "eu-west-1")),
    ]


def test_a_file_and_the_environment_say_the_same_as_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = settings(f"us-west-2:project=fl-west,pool=west,{OTHER_INCUS}")
    monkeypatch.setenv("FANLIGHT_REGION_ENGINES", json.dumps(wanted.model_dump(mode="json")["region_engines"]))
    assert Settings().region_engines == wanted.region_engines
    monkeypatch.delenv("FANLIGHT_REGION_ENGINES")
    file = tmp_path / "config.toml"
    file.write_text(
        '[[region_engines]]\nregion = "us-west-2"\nproject = "fl-west"\npool = "west"\n'
        'socket = "/run/incus-eu/unix.socket"\nnetwork = "fanlight1"\nsubnet = "10.125.0.1/16"\n'
    )
    monkeypatch.setenv("FANLIGHT_CONFIG", str(file))
    assert Settings().region_engines == wanted.region_engines


@pytest.mark.parametrize(
    ("engines", "why"),
    [
        (["us-west-2"], "REGION:project=NAME"),
        (["us-west-2:"], "REGION:project=NAME"),
        (["us-west-2:colour=red"], "REGION:project=NAME"),
        (["us-west-2:pool=p"], "project"),
        (["us-west-2:project=Shouting"], "project"),
        (["mars-1:project=m"], "mars-1 is not one of the regions"),
        (["us-west-2:project=a", "us-west-2:project=b"], "named twice"),
        (["us-west-2:project=a,pool=p", "eu-west-1:project=a,pool=q"], "two pools"),
        (["us-west-2:project=fanlight,pool=q"], "two pools"),
        (["us-west-2:project=a,network=n0,subnet=10.1.0.1/16"], "with a socket only"),
        (["us-west-2:project=a,socket=/s"], "a network and a subnet of its own"),
        (["us-west-2:project=a,socket=/s,network=fanlight0,subnet=10.1.0.1/16"], "network of its own"),
        (["us-west-2:project=a,socket=/s,network=n0,subnet=10.124.0.1/16"], "subnet of its own"),
        (
            [
                "us-west-2:project=a,socket=/s,network=n0,subnet=10.1.0.1/16",
                "eu-west-1:project=b,socket=/s,network=n1,subnet=10.2.0.1/16",
            ],
            "same network",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_words(engines: list[str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        settings(*engines)


def test_the_simulated_engine_is_one_for_all() -> None:
    with pytest.raises(ValidationError, match="simulated engine serves every region"):
        Settings(compute="simulated", region_engines=("us-west-2:project=a",))  # type: ignore[arg-type]
