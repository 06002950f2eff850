"""What the storage process itself asks of S3: is the bucket there, and how much is in a prefix."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, SSLError

from fanlight.domain.errors import StorageUnusable
from fanlight.domain.user_storage import HOME_BUCKETS, StorageUsage
from fanlight.storage.embedded_s3 import KeyPair
from fanlight.storage.inventories import summed

log = logging.getLogger(__name__)

# A clock that is wrong by a quarter of an hour looks to the client like a wrong key.
_DENIED = "Look at the access key, what it may do with that bucket, and this host's clock."
# Of an empty folder, as S3 has it. There for a moment while a bucket is tried.
_TRIED_KEY = ".fanlight/"
_KNOWS_NO_SUCH_KEY = (400, 405, 501)


class Buckets:
    """A thin client. Every call runs in a thread, for botocore blocks."""

    def __init__(self, endpoint_url: str, region: str, key: KeyPair) -> None:
        self._endpoint_url = endpoint_url
        self._tried: set[str] = set()
        self.keeps_markers: bool | None = None
        """Whether keys that end with a slash are kept as they are; None while no bucket could be tried."""
        # The one region that may not be named.
        is_named = region != "us-east-1"
        self._location = {"CreateBucketConfiguration": {"LocationConstraint": region}} if is_named else {}
        self._client: Any = botocore.session.Session().create_client(
            "s3",
            region_name=region,
            endpoint_url=endpoint_url,
            aws_access_key_id=key.access_key_id,
            aws_secret_access_key=key.secret_access_key,
            verify=os.environ.get("SSL_CERT_FILE") or True,  # rclone knows that one only
            config=Config(
                connect_timeout=3,
                read_timeout=20,
                retries={"total_max_attempts": 2},
                s3={"addressing_style": "path"},
                # Other endpoints than AWS do not all know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    async def ensure(self, bucket: str) -> None:
        """Make the bucket if it is not there, with the policy that keeps people from deleting it. Raises StorageUnusable.

        The first time in the life of this process it is also tried whether objects can be written, listed, read and deleted.
        """
        await asyncio.to_thread(self._explained, self._ensure, bucket)

    async def size_of(self, bucket: str, prefix: str) -> int:
        """Return the bytes of all objects whose key begins so. Raises StorageUnusable."""
        return int(await asyncio.to_thread(self._explained, self._size_of, bucket, prefix))

    async def usage(self) -> Sequence[StorageUsage]:
        """Return what each user has in the home folders. Raises StorageUnusable."""
        found: Sequence[StorageUsage] = await asyncio.to_thread(self._explained, self._usage, "of home folders")
        return found

    def _usage(self, _: str) -> Sequence[StorageUsage]:
        names = sorted(one["Name"] for one in self._client.list_buckets()["Buckets"])
        return [
            one
            for bucket in names
            if bucket.startswith(HOME_BUCKETS)
            for one in summed(bucket, ((found["Key"], int(found["Size"])) for found in self._objects(bucket, "user/")))
        ]

    def _objects(self, bucket: str, prefix: str) -> Iterator[Any]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from page.get("Contents", ())

    def _ensure(self, bucket: str) -> None:
        self._make(bucket)
        if bucket not in self._tried:
            self._try(bucket)

    def _try(self, bucket: str) -> None:
        try:
            self._client.put_object(Bucket=bucket, Key=_TRIED_KEY, Body=b"")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _KNOWS_NO_SUCH_KEY:
                raise
            self._client.put_object(Bucket=bucket, Key=_TRIED_KEY.rstrip("/"), Body=b"")
        found = {one["Key"] for one in self._objects(bucket, _TRIED_KEY.rstrip("/"))}
        for key in (_TRIED_KEY, _TRIED_KEY.rstrip("/")):
            if key in found:
                self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
                self._client.delete_object(Bucket=bucket, Key=key)
        # It is not there if another node deletes it at the same moment: then the next look tells.
        if found:
            self.keeps_markers = _TRIED_KEY in found
            self._tried.add(bucket)

    def _make(self, bucket: str) -> None:
        try:
            self._client.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:  # noqa: PLR2004
                raise
        else:
            return
        try:
            self._client.create_bucket(Bucket=bucket, **self._location)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        try:
            self._client.put_bucket_policy(Bucket=bucket, Policy=_keeping(bucket))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (400, 403, 404, 405, 409, 501):
                raise
            log.warning("a bucket has no policy that keeps people from deleting it", extra={"bucket": bucket})

    def _size_of(self, bucket: str, prefix: str) -> int:
        return sum(int(found["Size"]) for found in self._objects(bucket, prefix))

    def _explained(self, call: Any, *arguments: str) -> Any:
        try:
            return call(*arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            is_denied = error.response["ResponseMetadata"]["HTTPStatusCode"] == 403  # noqa: PLR2004
            raise StorageUnusable(
                f"The S3 endpoint {self._endpoint_url} refuses the bucket {arguments[0]}: {code} to {error.operation_name}. "
                f"{_DENIED if is_denied else ''}".strip()
            ) from error
        except SSLError as error:
            raise StorageUnusable(
                f"The certificate of the S3 endpoint {self._endpoint_url} is not trusted: name the file of its authority in SSL_CERT_FILE."
            ) from error
        except (BotoCoreError, OSError) as error:
            raise StorageUnusable(f"The S3 endpoint {self._endpoint_url} does not answer.") from error


def _keeping(bucket: str) -> str:
    """Return the policy that such buckets have in the service."""
    statement = {
        "Sid": "PreventAccidentalDeletionOfBucket",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteBucket",
        "Resource": f"arn:aws:s3:::{bucket}",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
