"""All services of the listener: AppStream and Nimble Studio, which are what Fanlight is, and the neighbours that tools ask."""

from functools import cache

from fanlight.api.appstream.handlers import appstream_service
from fanlight.api.aws_services import AwsService
from fanlight.api.neighbours.autoscaling import autoscaling_service
from fanlight.api.neighbours.cloudwatch import cloudwatch_service
from fanlight.api.neighbours.ec2 import ec2_service
from fanlight.api.neighbours.sts import sts_service
from fanlight.api.neighbours.tagging import tagging_service
from fanlight.api.nimble.handlers import nimble_service
from fanlight.services import AppStreamServices


@cache
def aws_services() -> tuple[AwsService[AppStreamServices], ...]:
    """Return the services, AppStream first, Nimble Studio last."""
    return (
        appstream_service(),
        autoscaling_service(),
        cloudwatch_service(),
        ec2_service(),
        tagging_service(),
        sts_service(),
        nimble_service(),
    )
