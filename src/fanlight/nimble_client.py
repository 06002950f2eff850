"""A client of Nimble Studio for our own commands: today's botocore, told the model that it has no longer."""

import json
import tempfile
from pathlib import Path
from typing import Any

from fanlight.api.spec.nimble_model import NIMBLE, nimble_description, nimble_table
from fanlight.config import Settings
from fanlight.installation import Credentials


def write_model(directory: Path) -> None:
    """Write model, paginators and waiters where botocore's loader finds them with the directory in its search path."""
    table = nimble_table()
    home = directory / NIMBLE / str(table["metadata"]["apiVersion"])
    home.mkdir(parents=True, exist_ok=True)
    (home / "service-2.json").write_text(json.dumps(nimble_description()))
    (home / "paginators-1.json").write_text(json.dumps({"pagination": table["paginators"]}))
    (home / "waiters-2.json").write_text(json.dumps({"version": 2, "waiters": table["waiters"]}))


def nimble_client(settings: Settings, credentials: Credentials) -> Any:
    """Return a client of this installation."""
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session()
    with tempfile.TemporaryDirectory(prefix="fanlight-") as directory:
        write_model(Path(directory))
        session.get_component("data_loader").search_paths.append(directory)
        client = session.create_client(
            NIMBLE,
            region_name=settings.regions[0],
            endpoint_url=settings.api_url,
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            verify=str(settings.tls_cert) if settings.tls_cert else True,
            config=Config(retries={"max_attempts": 3}, connect_timeout=5, read_timeout=30),
        )
        client.get_paginator("list_studios")  # what it reads, it keeps: the directory goes
    return client
