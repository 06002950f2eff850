"""Anything at all that clients may send, lawful and junk, to every operation of every service: an answer or a declared refusal."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from botocore.serialize import EC2Serializer, JSONSerializer, QuerySerializer, RpcV2CBORSerializer
from hypothesis import strategies as st
from hypothesis.stateful import rule

from fanlight.api.protocol.operations import CBOR, EC2, JSON, JSON_1_0, QUERY
from random_model.world import APPSTREAM, SERVICES, Account, Refusal
from random_requests import params

# Studios' API has paths, which the requests of this module have not.
# Of the many operations of EC2 that are not built a few: all of them answer in one place.
OPERATIONS = [
    (service.name, name)
    for service in SERVICES.values()
    if service.name != "nimble"
    for name in (*service.registry.built, *sorted(service.registry.not_built)[:: 99 if service.name == "ec2" else 1])
]
# What these make is a world of its own: rules make them with members that the model knows.
MODELLED = {(APPSTREAM, "CreateFleet"), (APPSTREAM, "CreateStack"), ("cloudwatch", "PutMetricAlarm")}
SERIALIZERS = {
    JSON: JSONSerializer,
    JSON_1_0: JSONSerializer,
    CBOR: RpcV2CBORSerializer,
    QUERY: QuerySerializer,
    EC2: EC2Serializer,
}


class Anything:
    """Rules that know nothing of the model: only codes and status are held; mixed into the machine."""

    account: Account

    @rule(data=st.data(), which=st.sampled_from(OPERATIONS))
    def ask_anything(self, data: Any, which: tuple[str, str]) -> None:
        """Whatever the model of a service allows, with names nobody has: an answer or a declared refusal."""
        name, operation = which
        if which in MODELLED:
            return
        service = SERVICES[name]
        model = service.model.operation_model(operation)
        shape = model.input_shape
        given = data.draw(params(shape)) if shape is not None else {}
        wire = data.draw(st.sampled_from(service.wires))
        body = SERIALIZERS[wire]().serialize_to_request(given, model)["body"]
        with suppress(Refusal):
            self.account.ask_raw(operation, _as_bytes(body), wire=wire, service=name)

    @rule(data=st.data(), which=st.sampled_from(OPERATIONS), body=st.binary(max_size=40))
    def send_junk(self, data: Any, which: tuple[str, str], body: bytes) -> None:
        wire = data.draw(st.sampled_from(SERVICES[which[0]].wires))
        with suppress(Refusal):
            self.account.ask_raw(which[1], body, wire=wire, service=which[0])

    @rule()
    def ask_who_and_where(self) -> None:
        identity = b"Action=GetCallerIdentity&Version=2011-06-15"
        told = self.account.ask_raw("GetCallerIdentity", identity, wire=QUERY, service="sts")
        assert self.account.scope.account_id.encode() in told
        with suppress(Refusal):
            regions = b"Action=DescribeRegions&Version=2016-11-15"
            assert b"us-east-1" in self.account.ask_raw("DescribeRegions", regions, wire=EC2, service="ec2")


def _as_bytes(body: Any) -> bytes:
    if isinstance(body, Mapping):
        return urlencode(body).encode()
    return body.encode() if isinstance(body, str) else bytes(body)
