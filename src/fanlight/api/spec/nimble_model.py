"""Nimble Studio's model, which botocore has no longer: a table of its structure, in the form that botocore reads.

The table has no prose. Shapes, constraints, paginators and waiters are those of the service's last version.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from botocore.model import ServiceModel

NIMBLE = "nimble"
PROTOCOL = "rest-json"


@cache
def nimble_table() -> Mapping[str, Any]:
    """Return the table as it is kept: metadata, operations, shapes, paginators, waiters."""
    table: Mapping[str, Any] = json.loads(files("fanlight.api.spec").joinpath("nimble.json").read_text("utf-8"))
    return table


@cache
def nimble_description() -> Mapping[str, Any]:
    """Return the model in the form of botocore's own files."""
    table = nimble_table()
    return {
        "version": "2.0",
        "metadata": {**table["metadata"], "protocols": [PROTOCOL]},
        "operations": {name: _operation(name, entry) for name, entry in table["operations"].items()},
        "shapes": table["shapes"],
    }


@cache
def nimble_model() -> ServiceModel:
    return ServiceModel(nimble_description(), service_name=NIMBLE)


def _operation(name: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "name": name,
        "http": {"method": entry["method"], "requestUri": entry["uri"], "responseCode": entry["status"]},
        "input": {"shape": entry["input"]},
        "output": {"shape": entry["output"]},
        "errors": [{"shape": code} for code in entry["errors"]],
        **({"idempotent": True} if entry.get("idempotent") else {}),
    }
