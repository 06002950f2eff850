"""Import and export of images: typed request → service → typed result."""

from fanlight.api import types
from fanlight.api.appstream.images import to_wire
from fanlight.api.appstream.registry import operation
from fanlight.api.types import (
    CreateExportImageTaskRequest,
    CreateExportImageTaskResult,
    CreateImportedImageRequest,
    CreateImportedImageResult,
    GetExportImageTaskRequest,
    GetExportImageTaskResult,
    ListExportImageTasksRequest,
    ListExportImageTasksResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import (
    AlreadyExists,
    DryRunPassed,
    InvalidCombination,
    LimitExceeded,
    NotAvailable,
    NotFound,
    NotPermitted,
    NotSupported,
    RoleRefused,
)
from fanlight.domain.image_exports import ExportState, ImageExport
from fanlight.services import AppStreamServices
from fanlight.services.image_exports import NewExport
from fanlight.services.image_imports import GivenApplication, NewImport
from fanlight.services.image_workshop import INSTANCE_TYPE
from fanlight.services.images import DescribedImage


@operation(
    "CreateImportedImage",
    raises=(NotFound, AlreadyExists, InvalidCombination, LimitExceeded, RoleRefused, DryRunPassed),
    note="SourceAmiId is an archive in S3 that EC2's RegisterImage or an export named: an OCI archive, a tarball of a root file system, or a qcow2 disk with an ext4 one. IamRoleArn must be a role of the account, and is not needed for more. With RuntimeValidationConfig the image is VALIDATING until an instance of it booted, its desktop came up and every application started.",
    refuses={
        "WorkspaceImageId": "there are no WorkSpaces here: give SourceAmiId.",
    },
)
async def create_imported_image(
    request: CreateImportedImageRequest, caller: Caller, services: AppStreamServices
) -> CreateImportedImageResult:
    image = await services.image_imports.create(caller.scope, _new_import(request))
    return CreateImportedImageResult(image=to_wire(DescribedImage(image), caller.scope, services))


@operation(
    "CreateExportImageTask",
    raises=(NotFound, NotAvailable, NotPermitted, RoleRefused),
    note="Writes AmiName.tar.zst, the root file system, and AmiName.json, its catalogue, into the account's place in S3. The AMI is a name for CreateImportedImage; EC2 starts nothing from it.",
)
async def create_export_image_task(
    request: CreateExportImageTaskRequest, caller: Caller, services: AppStreamServices
) -> CreateExportImageTaskResult:
    export = await services.image_exports.create(
        caller.scope,
        NewExport(
            image_name=request.image_name,
            ami_name=request.ami_name,
            role_arn=request.iam_role_arn,
            description=request.ami_description or "",
            tags=request.tag_specifications or {},
        ),
    )
    return CreateExportImageTaskResult(export_image_task=_to_wire(export))


@operation("GetExportImageTask", raises=(NotFound,))
async def get_export_image_task(
    request: GetExportImageTaskRequest, caller: Caller, services: AppStreamServices
) -> GetExportImageTaskResult:
    if request.task_id is None:
        raise NotFound("export task", "")
    export = await services.image_exports.get(caller.scope, request.task_id)
    return GetExportImageTaskResult(export_image_task=_to_wire(export))


@operation(
    "ListExportImageTasks",
    raises=(InvalidCombination,),
    note="The newest first. Filters: AmiId, AmiName, ImageArn, State, TaskId.",
)
async def list_export_image_tasks(
    request: ListExportImageTasksRequest, caller: Caller, services: AppStreamServices
) -> ListExportImageTasksResult:
    page, next_token = await services.image_exports.page(
        caller.scope,
        [(one.name, one.values) for one in request.filters or ()],
        limit=request.max_results,
        next_token=request.next_token,
    )
    return ListExportImageTasksResult(
        export_image_tasks=tuple(_to_wire(export) for export in page), next_token=next_token
    )


def _new_import(request: CreateImportedImageRequest) -> NewImport:
    if request.source_ami_id is None:
        raise InvalidCombination(
            "SourceAmiId is missing: name the archive that EC2's RegisterImage or an export named."
        )
    return NewImport(
        name=request.name,
        ami_id=request.source_ami_id,
        role_arn=request.iam_role_arn,
        description=request.description,
        display_name=request.display_name,
        tags=request.tags or {},
        is_always_latest=request.agent_software_version is types.AgentSoftwareVersion.ALWAYS_LATEST,
        catalogue=[_given(one) for one in request.app_catalog_config] if request.app_catalog_config else None,
        trial_type=_trial_type(request.runtime_validation_config),
        is_dry_run=bool(request.dry_run),
    )


def _trial_type(config: types.RuntimeValidationConfig | None) -> str | None:
    return None if config is None else config.intended_instance_type or INSTANCE_TYPE


def _given(one: types.ApplicationConfig) -> GivenApplication:
    if one.absolute_manifest_path:
        raise NotSupported("AbsoluteManifestPath is not supported: applications are not optimised by manifests here.")
    return GivenApplication(
        name=one.name,
        program=one.absolute_app_path,
        display_name=one.display_name or "",
        icon=one.absolute_icon_path or "",
        working_directory=one.working_directory or "",
        launch_parameters=one.launch_parameters or "",
    )


def _to_wire(export: ImageExport) -> types.ExportImageTask:
    return types.ExportImageTask(
        task_id=export.task_id,
        image_arn=export.image_arn,
        ami_name=export.ami_name,
        created_date=export.created_at,
        ami_description=export.ami_description or None,
        state=types.ExportImageTaskState(export.state),
        ami_id=export.ami_id if export.state is ExportState.COMPLETED else None,
        tag_specifications=dict(export.tags) or None,
        error_details=(types.ErrorDetails(error_code=export.error_code, error_message=export.error_message),)
        if export.error_code
        else (),
    )
