"""Try an image before it is offered: it boots, its desktop comes up, and every application of its catalogue starts.

The trial runs in an instance of the image itself, with the runtime that it pins and without a network, as a fleet's would:
nothing that it leaves behind is in the image, and what was tried is what will run.
"""

from dataclasses import dataclass

from fanlight.agentwire.messages import BeginSession, Maintain
from fanlight.domain.images import Image, ImageFailure
from fanlight.domain.ports import InstanceRole, WorkPhase, WorkReport
from fanlight.domain.stacks import UserSettings
from fanlight.reconcilers.begin_messages import as_launch
from fanlight.reconcilers.image_records import MakingFailed
from fanlight.reconcilers.stream_settings import stream_settings_of
from fanlight.services.image_workshop import INSTANCE_TYPE, ImageWorkshop


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTrial:
    """`failure` is what an image fails with that does not pass; `occasion` ends the sentence that says so."""

    workshop: ImageWorkshop
    failure: ImageFailure
    occasion: str

    async def ask(self, image: Image, instance_id: str, instance_type: str = INSTANCE_TYPE) -> WorkReport | None:
        """Return what the instance says of it, None: nothing yet. Raises what `ImageWorkshop.ask` raises."""
        role = InstanceRole.QUALIFICATION
        spec = self.workshop.spec(
            instance_id,
            image.store_ref,
            image.scope,
            role,
            instance_type=instance_type,
            runtime_version=image.agent_version,
        )
        applications = tuple(as_launch(application) for application in image.applications if application.enabled)
        message = Maintain(work_id=f"check-{instance_id}", task="check", applications=applications)
        return await self.workshop.ask(spec, message, _session(image, instance_id))

    def judge(self, report: WorkReport) -> None:
        """Raises MakingFailed when the finished trial was not passed."""
        if report.phase is not WorkPhase.DONE:
            raise MakingFailed(self.failure, f"The new image could not be tried: {report.detail}")
        if report.problems:
            raise MakingFailed(
                self.failure,
                f"{len(report.problems)} of its applications do not start {self.occasion}.",
                [f"The application {problem}." for problem in report.problems],
            )


def _session(image: Image, instance_id: str) -> BeginSession:
    session_id = f"trial-{instance_id}"
    return BeginSession(
        session_id=session_id,
        user_id="image-trial",
        stream_view="APP",
        environment={"AppStream_UserName": "image-trial", "AppStream_Session_ID": session_id},
        machine_environment={
            "AppStream_Image_Arn": image.arn_in(image.scope.region),
            "AppStream_Resource_Type": "image-builder",
            "AppStream_Resource_Name": image.name,
        },
        stream_settings=stream_settings_of(UserSettings()),
    )
