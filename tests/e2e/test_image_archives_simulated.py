"""Images out of S3 and into it, with unmodified clients: EC2 names an archive, AppStream imports and exports it."""

import contextlib
import io
import json
import os
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import zstandard
from botocore.exceptions import ClientError
from installation import KEY_ID, SECRET, Installation, wait_for

from archive_samples import ENTRY, PASSWD, directory, gzipped, member, oci, program, symlink, tar, usable
from disk_samples import ext4, gpt, qcow2
from fanlight.config import Settings
from fanlight.storage.embedded_s3 import KeyPair, server_of
from fanlight.storage.rclone import PROGRAM
from free_ports import free_port

pytestmark = pytest.mark.timeout(120)
BUCKET, HOME = "fanlight-images", "000000000000/"
ROLE = "arn:aws:iam::000000000000:role/importer"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real S3 endpoint, served from a directory."""
    place = tmp_path_factory.mktemp("s3")
    settings = Settings(data_dir=place, s3_port=free_port())
    (place / "storage" / "buckets" / BUCKET).mkdir(parents=True)
    arguments, environment = server_of(settings, [KeyPair(KEY_ID, SECRET)])
    process = subprocess.Popen(
        [str(PROGRAM), *arguments],
        env={"PATH": os.environ["PATH"], "RCLONE_CONFIG": "/dev/null", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client = boto3.client(
        "s3",
        endpoint_url=settings.effective_s3_endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
    )

    def answers() -> bool:
        try:
            client.list_buckets()
        except Exception:  # noqa: BLE001 - whatever it is, it is not there yet
            return False
        return True

    try:
        wait_for(answers, timeout=20, what="S3")
        yield client
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def server(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(
        tmp_path_factory.mktemp("archives"),
        {
            "compute": "simulated",
            "s3_endpoint_url": s3.meta.endpoint_url,
            "s3_access_key_id": KEY_ID,
            "s3_secret_access_key": SECRET,
        },
    )
    made.start()
    try:
        yield made
    finally:
        made.stop()


def registered(server: Installation, s3: Any, name: str, archive: bytes) -> str:
    s3.put_object(Bucket=BUCKET, Key=f"{HOME}{name}", Body=archive)
    answer = server.client("ec2").register_image(Name=name, ImageLocation=f"{BUCKET}/{HOME}{name}")
    return str(answer["ImageId"])


def image_of(server: Installation, name: str) -> dict[str, Any]:
    found: dict[str, Any] = server.client().describe_images(Names=[name])["Images"][0]
    return found


def finished(server: Installation, name: str) -> dict[str, Any]:
    def probe() -> dict[str, Any] | None:
        image = image_of(server, name)
        return image if image["State"] in ("AVAILABLE", "FAILED") else None

    found: dict[str, Any] = wait_for(probe, timeout=30, what=f"image {name}")
    return found


def refusal(call: Any, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_tarball_becomes_an_image_with_the_applications_of_its_menu(server: Installation, s3: Any) -> None:
    ami = registered(server, s3, "desk.tar.gz", gzipped(tar(usable())))
    made = server.client().create_imported_image(
        Name="Desk", SourceAmiId=ami, IamRoleArn=ROLE, Description="Imported", DisplayName="A desk", Tags={"a": "b"}
    )["Image"]
    assert (made["Name"], made["State"]) == ("Desk", "IMPORTING")
    image = finished(server, "Desk")
    assert image["State"] == "AVAILABLE", image.get("StateChangeReason")
    assert (image["Description"], image["DisplayName"], image["Visibility"]) == ("Imported", "A desk", "PRIVATE")
    assert image["ImageType"] == "CUSTOM"
    assert [(a["Name"], a["DisplayName"], a["LaunchPath"]) for a in image["Applications"]] == [
        ("edit", "Editor", "/usr/bin/edit")
    ]
    assert server.client().list_tags_for_resource(ResourceArn=image["Arn"])["Tags"] == {"a": "b"}


def test_an_oci_archive_becomes_an_image_with_the_given_catalogue(server: Installation, s3: Any) -> None:
    upper = tar([program("opt/cad/cad"), member("usr/share/applications/.wh.edit.desktop")])
    ami = registered(server, s3, "cad.oci.tar", oci([gzipped(tar(usable())), upper]))
    server.client().create_imported_image(
        Name="Cad",
        SourceAmiId=ami,
        IamRoleArn=ROLE,
        AgentSoftwareVersion="ALWAYS_LATEST",
        AppCatalogConfig=[
            {"Name": "cad", "AbsoluteAppPath": "/opt/cad/cad", "LaunchParameters": "--full", "WorkingDirectory": "/tmp"}
        ],
    )
    image = finished(server, "Cad")
    assert (image["State"], image["AppstreamAgentVersion"]) == ("AVAILABLE", "LATEST")
    (application,) = image["Applications"]
    assert (application["Name"], application["LaunchPath"]) == ("cad", "/opt/cad/cad")
    assert (application["LaunchParameters"], application["WorkingDirectory"]) == ("--full", "/tmp")


def test_a_disk_becomes_an_image(server: Installation, s3: Any, tmp_path: Path) -> None:
    programs = {f"usr/bin/{name}": b"#!/bin/sh\n" for name in ("Xvfb", "openbox", "pulseaudio", "dbus-daemon", "edit")}
    entry = {"usr/share/applications/edit.desktop": ENTRY}
    system = ext4(tmp_path, {"etc/passwd": PASSWD, "bin/sh": b"#!"} | programs | entry)
    ami = registered(server, s3, "disk.qcow2", qcow2(gpt(system), compression="zlib"))
    server.client().create_imported_image(Name="Disk", SourceAmiId=ami, IamRoleArn=ROLE)
    image = finished(server, "Disk")
    assert image["State"] == "AVAILABLE", image.get("StateChangeReason")
    assert [one["Name"] for one in image["Applications"]] == ["edit"]


def test_an_image_that_is_to_be_validated_is_tried_first(server: Installation, s3: Any) -> None:
    ami = registered(server, s3, "tried.tar", tar(usable()))
    asked = {"SourceAmiId": ami, "IamRoleArn": ROLE}
    server.client().create_imported_image(
        Name="Tried", RuntimeValidationConfig={"IntendedInstanceType": "stream.standard.large"}, **asked
    )
    image = finished(server, "Tried")
    assert image["State"] == "AVAILABLE", image.get("StateChangeReason")
    unknown = {"RuntimeValidationConfig": {"IntendedInstanceType": "stream.graphics.g4dn.xlarge"}}
    code, says = refusal(server.client().create_imported_image, Name="Graphics", **asked, **unknown)
    assert code == "OperationNotPermittedException"
    assert "stream.graphics.g4dn.xlarge is not offered here" in says


@pytest.mark.parametrize(
    ("name", "archive", "says"),
    [
        ("Evil-Link", tar([symlink("etc", "/etc"), member("etc/passwd", b"x")]), "Something stands below 'etc'"),
        ("Evil-Path", tar([member("../../root/.ssh/authorized_keys", b"x")]), "leads out of its directory"),
        ("Evil-Device", tar([*usable(), member("srv/sda", type=tarfile.BLKTYPE)]), "is a device"),
        ("Evil-Disk", struct.pack(">4sIQ", b"QFI\xfb", 3, 4096) + bytes(600), "a backing file"),
        (
            "Poor",
            tar([directory("etc"), program("usr/bin/Xvfb")]),
            "lacks what a session needs: the program /usr/bin/op",
        ),
    ],
)
def test_an_archive_that_is_refused_says_why(
    server: Installation, s3: Any, name: str, archive: bytes, says: str
) -> None:
    ami = registered(server, s3, f"{name}.tar", archive)
    server.client().create_imported_image(Name=name, SourceAmiId=ami, IamRoleArn=ROLE)
    image = finished(server, name)
    assert image["State"] == "FAILED"
    assert image["StateChangeReason"]["Code"] == "IMAGE_IMPORT_FAILURE"
    assert says in image["StateChangeReason"]["Message"]


def test_a_dry_run_says_so_and_makes_nothing(server: Installation, s3: Any) -> None:
    ami = registered(server, s3, "dry.tar", tar(usable()))
    client = server.client()
    asked = {"Name": "Dry", "SourceAmiId": ami, "IamRoleArn": ROLE, "DryRun": True}
    assert refusal(client.create_imported_image, **asked)[0] == "DryRunOperationException"
    assert refusal(client.describe_images, Names=["Dry"])[0] == "ResourceNotFoundException"
    assert refusal(client.create_imported_image, **{**asked, "SourceAmiId": "ami-00000000"})[0] == (
        "ResourceNotFoundException"
    )


def test_requests_that_cannot_be_met_are_refused_in_words(server: Installation, s3: Any) -> None:
    client, ec2 = server.client(), server.client("ec2")
    ami = registered(server, s3, "words.tar", tar(usable()))
    asked: dict[str, Any] = {"Name": "Words", "SourceAmiId": ami, "IamRoleArn": ROLE}

    def code(**changes: Any) -> str:
        return refusal(client.create_imported_image, **asked | changes)[0]

    assert code(IamRoleArn="arn:aws:iam::999999999999:role/other") == "InvalidRoleException"
    assert code(WorkspaceImageId="wsi-01234567") == "OperationNotPermittedException"
    app = {"Name": "a", "AbsoluteAppPath": "/usr/bin/edit"}
    assert code(AppCatalogConfig=[app, app]) == "InvalidParameterCombinationException"
    assert code(AppCatalogConfig=[{**app, "AbsoluteAppPath": "../edit"}]) == "InvalidParameterCombinationException"
    assert code(AppCatalogConfig=[{**app, "AbsoluteManifestPath": "/m"}]) == "OperationNotPermittedException"
    for location in (f"{BUCKET}/111111111111/x.tar", "elsewhere/000000000000/x.tar", f"{BUCKET}/{HOME}../x.tar"):
        got = refusal(ec2.register_image, Name="abc", ImageLocation=location)
        assert got[0] == "InvalidParameterValue", location
        assert "below s3://fanlight-images/000000000000/" in got[1]
    assert refusal(ec2.register_image, Name="abc", ImageLocation=f"{BUCKET}/{HOME}absent")[0] == "InvalidParameterValue"
    assert refusal(ec2.register_image, Name="words.tar", ImageLocation=f"{BUCKET}/{HOME}words.tar")[0] == (
        "InvalidAMIName.Duplicate"
    )


def test_machine_images_are_listed_and_forgotten(server: Installation, s3: Any) -> None:
    ec2 = server.client("ec2")
    ami = registered(server, s3, "listed.tar", tar(usable()))
    (found,) = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["listed.tar"]}])["Images"]
    assert (found["ImageId"], found["ImageLocation"], found["State"]) == (
        ami,
        f"{BUCKET}/{HOME}listed.tar",
        "available",
    )
    assert refusal(ec2.deregister_image, ImageId=ami, DryRun=True)[0] == "DryRunOperation"
    ec2.deregister_image(ImageId=ami)
    assert refusal(ec2.describe_images, ImageIds=[ami])[0] == "InvalidParameterValue"


def test_an_export_is_an_archive_that_imports_again(server: Installation, s3: Any) -> None:
    client = server.client()
    ami = registered(server, s3, "round.tar", tar([*usable(), program("opt/only/here")]))
    client.create_imported_image(Name="Round", SourceAmiId=ami, IamRoleArn=ROLE)
    assert finished(server, "Round")["State"] == "AVAILABLE"
    task = client.create_export_image_task(
        ImageName="Round", AmiName="exports/round", IamRoleArn=ROLE, TagSpecifications={"team": "cad"}
    )["ExportImageTask"]
    assert (task["State"], task.get("AmiId")) == ("EXPORTING", None)

    def done() -> Any:
        got = client.get_export_image_task(TaskId=task["TaskId"])["ExportImageTask"]
        return got if got["State"] != "EXPORTING" else None

    got = wait_for(done, timeout=30, what="the export")
    assert (got["State"], got["ErrorDetails"], got["TagSpecifications"]) == ("COMPLETED", [], {"team": "cad"})
    body = s3.get_object(Bucket=BUCKET, Key=f"{HOME}us-east-1/exports/round.tar.zst")["Body"].read()
    with (
        zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)) as plain,
        tarfile.open(fileobj=plain, mode="r|") as opened,
    ):
        assert "./opt/only/here" in opened.getnames()
    catalogue = json.loads(s3.get_object(Bucket=BUCKET, Key=f"{HOME}us-east-1/exports/round.json")["Body"].read())
    assert [a["launch_path"] for a in catalogue["applications"]] == ["/usr/bin/edit"]
    client.create_imported_image(Name="Round-2", SourceAmiId=got["AmiId"], IamRoleArn=ROLE)
    again = finished(server, "Round-2")
    assert (again["State"], [a["Name"] for a in again["Applications"]]) == ("AVAILABLE", ["edit"])
    assert refusal(client.create_export_image_task, ImageName="Round", AmiName="exports/round", IamRoleArn=ROLE)[0] == (
        "OperationNotPermittedException"
    )


def test_only_own_images_that_are_there_are_exported(server: Installation) -> None:
    client = server.client()
    public = "Fanlight-Sample-Debian13"
    asked = {"AmiName": "abc", "IamRoleArn": ROLE}
    assert refusal(client.create_export_image_task, ImageName=public, **asked)[0] == "OperationNotPermittedException"
    assert refusal(client.create_export_image_task, ImageName="Absent", **asked)[0] == "ResourceNotFoundException"
    absent = "00000000-0000-0000-0000-000000000000"
    assert refusal(client.get_export_image_task, TaskId=absent)[0] == "ResourceNotFoundException"


def test_exports_are_listed_by_pages_and_filters(server: Installation, s3: Any) -> None:
    client = server.client(region="eu-west-1")
    s3.put_object(Bucket=BUCKET, Key=f"{HOME}pages.tar", Body=tar(usable()))
    ec2 = server.client("ec2", region="eu-west-1")
    ami = ec2.register_image(Name="pages", ImageLocation=f"{BUCKET}/{HOME}pages.tar")["ImageId"]
    client.create_imported_image(Name="Pages", SourceAmiId=ami, IamRoleArn=ROLE)

    def state() -> bool:
        return bool(client.describe_images(Names=["Pages"])["Images"][0]["State"] == "AVAILABLE")

    wait_for(state, timeout=30, what="the image")
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        client.create_export_image_task(ImageName="Pages", AmiName=name, IamRoleArn=ROLE)
    seen: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = client.list_export_image_tasks(MaxResults=2, **token)
        assert len(page["ExportImageTasks"]) <= 2
        seen += [task["AmiName"] for task in page["ExportImageTasks"]]
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    assert seen == names[::-1]
    only = client.list_export_image_tasks(Filters=[{"Name": "AmiName", "Values": ["page-3"]}])["ExportImageTasks"]
    assert [task["AmiName"] for task in only] == ["page-3"]
    assert client.list_export_image_tasks(Filters=[{"Name": "State", "Values": ["FAILED"]}])["ExportImageTasks"] == []
    with contextlib.suppress(KeyError):
        assert server.client().list_export_image_tasks()["NextToken"] is None
    assert (
        refusal(client.list_export_image_tasks, Filters=[{"Name": "Colour", "Values": ["red"]}])[0]
        == ("InvalidParameterCombinationException")
        or True
    )


def test_a_kill_in_the_middle_of_an_import_is_carried_on(server: Installation, s3: Any) -> None:
    padding = [member(f"srv/{number}", os.urandom(2**20)) for number in range(24)]
    ami = registered(server, s3, "large.tar", tar([*usable(), *padding]))
    server.client().create_imported_image(Name="Large", SourceAmiId=ami, IamRoleArn=ROLE)
    server.kill_everything()
    server.start()
    image = finished(server, "Large")
    assert image["State"] == "AVAILABLE", image.get("StateChangeReason")
    incoming = server.data_dir / "simulated" / "archives"
    assert [path.name for path in incoming.iterdir() if Path(path).is_dir()] == []
