"""How streaming images are shown."""

from fanlight.api.types import nimble as types
from fanlight.domain.nimble.streaming_images import StreamingImage
from fanlight.domain.tags import Tags


def shown(image: StreamingImage, tags: Tags) -> types.StreamingImage:
    key_type = types.StreamingImageEncryptionConfigurationKeyType.CUSTOMER_MANAGED_KEY
    return types.StreamingImage(
        arn=image.arn,
        description=image.description,
        ec2_image_id=image.ec2_image_id,
        encryption_configuration=types.StreamingImageEncryptionConfiguration(key_type=key_type, key_arn=image.key_arn)
        if image.key_arn
        else None,
        eula_ids=image.eula_ids,
        name=image.name,
        owner=image.owner,
        platform=image.platform,
        state=types.StreamingImageState(image.state),
        status_code=types.StreamingImageStatusCode(image.status.code),
        status_message=image.status.message,
        streaming_image_id=image.resource_id,
        tags=tags,
    )
