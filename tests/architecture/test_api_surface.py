"""The surface of the API is the model's: every operation answered, only declared errors raised, generated files fresh."""

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest

from closed_errors import allowed_codes
from fanlight.api import types
from fanlight.api.appstream.errors import WIRE_CODES
from fanlight.api.appstream.handlers import appstream_registry
from fanlight.api.appstream.registry import Registry, RegistryIncomplete, not_supported, operation
from fanlight.api.catalogue import aws_services
from fanlight.api.errors import ALWAYS_ANSWERED, OUTAGES, wire_code
from fanlight.api.protocol.errors import COMMON_STATUS
from fanlight.api.spec import appstream_model, attribute_name
from fanlight.domain import errors as domain

ROOT = Path(__file__).resolve().parents[2]
MODEL = appstream_model()
REGISTRY = appstream_registry()
DECLARED = {name: {shape.name for shape in MODEL.operation_model(name).error_shapes} for name in MODEL.operation_names}


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_registry_answers_exactly_the_ninety_operations_of_the_model() -> None:
    REGISTRY.verify_complete(frozenset(MODEL.operation_names))
    assert len(REGISTRY) == len(set(REGISTRY)) == 90


def test_a_registry_that_lacks_doubles_or_invents_an_operation_is_refused() -> None:
    with pytest.raises(RegistryIncomplete, match="no handler for StopFleet"):
        Registry((), (not_supported("A", because="."),)).verify_complete(frozenset({"A", "StopFleet"}))
    with pytest.raises(RegistryIncomplete, match="not in the model: A"):
        Registry((), (not_supported("A", because="."),)).verify_complete(frozenset())
    with pytest.raises(RegistryIncomplete, match="more than once: A"):
        Registry((), (not_supported("A", because="."), not_supported("A", because=".")))

    @operation("A")
    async def handler(request: object, caller: object, services: object) -> None: ...

    with pytest.raises(RegistryIncomplete, match="more than once: A"):
        Registry((handler,), (not_supported("A", because="."),))


BUILT = [(service, name) for service in aws_services() for name in sorted(service.registry.built)]
BUILT_NAMES = [f"{service.name}:{name}" for service, name in BUILT]


@pytest.mark.parametrize(("service", "name"), BUILT, ids=BUILT_NAMES)
def test_handlers_raise_only_what_clients_of_the_operation_expect(service: Any, name: str) -> None:
    """Not even what every handler may raise leads out of the operation's list and the common errors."""
    for error in (*service.registry.built[name].raises, *ALWAYS_ANSWERED):
        code = service.respelled.get(found := wire_code(error, service.declared(name), service.codes), found)
        assert code in allowed_codes(service, name), error


def test_what_is_not_built_says_so_in_a_code_of_its_list_or_in_the_one_kept_for_that() -> None:
    for service in aws_services():
        for name in service.registry.not_built:
            code = service.unbuilt_code(name)
            assert code == (
                "OperationNotPermittedException" if code in service.declared(name) else "UnsupportedOperation"
            )


@pytest.mark.parametrize("name", sorted(REGISTRY.built))
def test_handlers_take_and_give_the_types_of_their_operation(name: str) -> None:
    handler = REGISTRY.built[name].handler
    hints = get_type_hints(handler)
    assert list(inspect.signature(handler).parameters) == ["request", "caller", "services"]
    assert hints["request"] is getattr(types, MODEL.operation_model(name).input_shape.name)
    assert hints["return"] is getattr(types, f"{name}Result")


def _leaves(error: type[domain.DomainError]) -> list[type[domain.DomainError]]:
    return [error, *(leaf for child in error.__subclasses__() for leaf in _leaves(child))]


@pytest.mark.parametrize("error", [e for e in _leaves(domain.DomainError)[1:] if e.__module__ == domain.__name__])
def test_no_domain_error_becomes_an_internal_failure(error: type[domain.DomainError]) -> None:
    for declared in DECLARED.values():
        assert wire_code(error, declared, WIRE_CODES) != "InternalFailure"


def test_every_code_is_of_the_model_or_common_and_every_row_ends_in_a_common_one() -> None:
    known = {shape.name for shape in MODEL.error_shapes} | set(COMMON_STATUS)
    for codes in WIRE_CODES.values():
        assert set(codes) <= known
        assert codes[-1] in COMMON_STATUS


def test_user_mistakes_are_never_our_failure() -> None:
    ours = {*OUTAGES, domain.ImageMissing, domain.CapacityUnavailable}
    for error, codes in WIRE_CODES.items():
        if error not in ours:
            assert all(COMMON_STATUS.get(code, 400) < 500 for code in codes), error


def test_reasons_of_what_is_not_built_are_sentences_for_people() -> None:
    for entry in REGISTRY.not_built.values():
        assert entry.because.startswith("Fanlight ")
        assert entry.because.endswith(".")


@pytest.mark.parametrize("name", sorted(REGISTRY.built))
def test_no_member_of_a_request_is_overlooked(name: str) -> None:
    """Each member is read somewhere in the module of the handler, or refused: nothing is accepted and ignored."""
    built = REGISTRY.built[name]
    source = inspect.getsource(inspect.getmodule(built.handler) or built.handler)
    members = MODEL.operation_model(name).input_shape.members
    read = {member for member in members if f"request.{attribute_name(member)}" in source}
    assert set(members) - read - {member.partition(".")[0] for member in built.refuses} == set()


@pytest.mark.parametrize("name", sorted(REGISTRY.built))
def test_what_is_refused_is_a_member_and_has_a_reason_for_people(name: str) -> None:
    for member, because in REGISTRY.built[name].refuses.items():
        shape = MODEL.operation_model(name).input_shape
        for part in member.split("."):
            shape = shape.members[part]
        assert because.endswith(".")


def test_the_page_of_fleet_errors_is_fresh() -> None:
    assert tool("generate_fleet_errors").main(["--check"]) == 0, "run python tools/generate_fleet_errors.py"


def test_the_generated_types_are_fresh() -> None:
    assert tool("generate_types").main(["--check"]) == 0, "run python tools/generate_types.py"


def test_the_coverage_page_is_fresh() -> None:
    assert tool("generate_coverage").main(["--check"]) == 0, "run python tools/generate_coverage.py"


def test_secrets_of_the_model_hide_from_repr() -> None:
    request = types.CreateDirectoryConfigRequest(
        directory_name="d",
        organizational_unit_distinguished_names=(),
        service_account_credentials=types.ServiceAccountCredentials(account_name="a", account_password="hunter2"),
    )
    assert "hunter2" not in repr(request)
    url = types.CreateStreamingURLRequest(stack_name="s", fleet_name="f", user_id="u", session_context="token")
    assert "token" not in repr(url)
    assert "https" not in repr(types.CreateStreamingURLResult(streaming_url="https://portal"))
