"""The surface of the API is the model's: every operation answered, only declared errors raised, generated files fresh."""

import importlib
import importlib.util
import inspect
import linecache
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest

from closed_errors import allowed_codes
from fanlight.api import appstream, neighbours, nimble, types
from fanlight.api.appstream.errors import WIRE_CODES
from fanlight.api.appstream.handlers import appstream_registry
from fanlight.api.appstream.registry import Registry, RegistryIncomplete, not_supported, operation
from fanlight.api.catalogue import aws_services
from fanlight.api.errors import ALWAYS_ANSWERED, OUTAGES, wire_code
from fanlight.api.protocol.errors import COMMON_STATUS
from fanlight.api.spec import appstream_model, attribute_name
from fanlight.domain import errors as domain
from member_reads import reads_of

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


def test_nimble_studio_answers_exactly_its_forty_nine_operations() -> None:
    NIMBLE.registry.verify_complete(frozenset(NIMBLE.model.operation_names))
    assert len(NIMBLE.registry) == len(set(NIMBLE.registry)) == 49


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


def handler_modules() -> list[ModuleType]:
    return [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for package in (appstream, neighbours, nimble)
        for found in pkgutil.iter_modules(package.__path__)
    ]


GAPS = {("ec2", "DeregisterImage"), ("ec2", "DescribeImages"), ("ec2", "RegisterImage")}
READS = reads_of(*handler_modules())


def overlooked(service: Any, entry: Any, shape: Any, path: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the members of a request, and of the structures in it, that nobody reads and no table speaks of."""
    spoken_of = {*entry.refuses, *entry.without_effect}
    for member, target in shape.members.items():
        here = f"{path}{member}"
        if here in spoken_of or target.serialization.get("location") == "header":
            continue  # the header is the client token, which has its own test
        is_read = (getattr(service.types, shape.name), attribute_name(member)) in READS
        if not is_read and not any(other.startswith(f"{here}.") for other in spoken_of):
            yield here
        if here in entry.limits:
            continue  # what is refused is refused whole
        while target.type_name in ("list", "map"):
            target = target.member if target.type_name == "list" else target.value  # noqa: PLW2901 - down to what is inside
        if target.type_name == "structure" and target.name not in above:
            yield from overlooked(service, entry, target, f"{here}.", (*above, target.name))


@pytest.mark.parametrize(("service", "name"), BUILT, ids=BUILT_NAMES)
def test_no_member_of_a_request_is_overlooked(service: Any, name: str) -> None:
    """Each member is read by a handler, however deep it stands, or a table says what becomes of it."""
    shape = service.model.operation_model(name).input_shape
    found = [] if shape is None else list(overlooked(service, service.registry.built[name], shape))
    # Known gaps; one that is mended must leave this list.
    assert bool(found) == ((service.name, name) in GAPS), found


NIMBLE = next(service for service in aws_services() if service.name == "nimble")


@pytest.mark.parametrize("name", sorted(NIMBLE.registry.built))
def test_an_operation_with_a_client_token_makes_a_call_of_it(name: str) -> None:
    has_token = "clientToken" in NIMBLE.model.operation_model(name).input_shape.members
    source = inspect.getsource(NIMBLE.registry.built[name].handler)
    assert (f'call_of("{name}", request, caller)' in source) == has_token


def test_a_member_that_nobody_reads_is_found() -> None:
    """The inference itself: what it sees, and what it must not take for seen."""
    module = ModuleType("sample")
    source = """
from fanlight.api.types import CreateStackRequest, UserSetting
def handler(request: CreateStackRequest) -> None:
    wanted = request.user_settings or ()
    print([one.action for one in wanted if one.permission])
    domains, other = request.embed_host_domains, request.tags
    print(request.unknown, domains.maximum_length, other)
"""
    exec(source, vars(module))
    linecache.cache["sample"] = (len(source), None, source.splitlines(keepends=True), "sample")
    module.__file__ = "sample"
    found = {(kind.__name__, name) for kind, name in reads_of(module)}
    assert found == {
        ("CreateStackRequest", "user_settings"),
        ("CreateStackRequest", "embed_host_domains"),
        ("CreateStackRequest", "tags"),
        ("UserSetting", "action"),
        ("UserSetting", "permission"),
    }


@pytest.mark.parametrize(("service", "name"), BUILT, ids=BUILT_NAMES)
def test_what_the_tables_speak_of_is_a_member_and_has_a_reason_for_people(service: Any, name: str) -> None:
    entry = service.registry.built[name]
    for member, because in (*entry.refuses.items(), *entry.limits.items(), *entry.without_effect.items()):
        shape = service.model.operation_model(name).input_shape
        for part in member.split("."):
            shape = shape.members[part]
            shape = shape.member if shape.type_name == "list" else shape
        assert because
        assert because.endswith(".") or member in entry.refuses


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
