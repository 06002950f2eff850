"""Objects in any S3 endpoint, over botocore, which knows the protocol's every corner but no event loop: calls run in threads."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fanlight.domain.errors import DriverError, DriverUnavailable
from fanlight.domain.objects import ObjectMissing, ObjectPlace, ObjectRefused, StoredObject

PART_IN_BYTES = 16 * 2**20  # S3 takes 10,000 parts: 160 GB
_READ_IN_BYTES = 2**20
_MOST_LISTED = 1000
_MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NotFound", "412", "PreconditionFailed"}
_PASSING = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "500", "502", "503", "504"}
T = TypeVar("T")


class S3Objects:
    """See `domain.objects.ObjectStore`.

    `verify` is botocore's: False for our own endpoint at the loopback address, or a file of authorities.
    """

    def __init__(
        self, *, endpoint_url: str, region: str, access_key_id: str, secret_access_key: str, verify: bool | str = True
    ) -> None:
        self._endpoint_url, self._region, self._verify = endpoint_url, region, verify
        self._key = (access_key_id, secret_access_key)
        self._lock = threading.Lock()
        self._made: Any = None

    async def find(self, place: ObjectPlace) -> StoredObject | None:
        try:
            head = await self._call("head_object", place)
        except ObjectMissing:
            return None
        return StoredObject(place, int(head["ContentLength"]), str(head["ETag"]))

    async def read(self, stored: StoredObject) -> AsyncIterator[bytes]:
        answer = await self._call("get_object", stored.place, IfMatch=stored.version)
        body = answer["Body"]
        if str(answer["ETag"]) != stored.version:  # not every endpoint knows If-Match
            await asyncio.to_thread(body.close)
            raise ObjectMissing(stored.place)
        try:
            while chunk := await self._in_thread(stored.place, lambda: body.read(_READ_IN_BYTES)):
                yield chunk
        finally:
            await asyncio.to_thread(body.close)

    async def write(self, place: ObjectPlace, content: AsyncIterator[bytes]) -> StoredObject:
        upload_id = (await self._call("create_multipart_upload", place))["UploadId"]
        try:
            size = 0
            parts: list[dict[str, Any]] = []
            async with aclosing(_parts(content)) as chunks:
                async for data in chunks:
                    number = len(parts) + 1
                    sent = await self._call("upload_part", place, UploadId=upload_id, PartNumber=number, Body=data)
                    parts.append({"ETag": sent["ETag"], "PartNumber": number})
                    size += len(data)
            await self._call("complete_multipart_upload", place, UploadId=upload_id, MultipartUpload={"Parts": parts})
        except BaseException:
            await asyncio.shield(self._abort(place, upload_id))
            raise
        # What the endpoint calls the version now: it may be another name than that of the parts put together.
        written = await self.find(place)
        if written is None or written.size != size:
            raise DriverUnavailable(f"Another {place} was written meanwhile.")
        return written

    async def list(self, bucket: str, prefix: str) -> Sequence[StoredObject]:
        place = ObjectPlace(bucket, prefix)
        try:
            found = await self._in_thread(
                place, lambda: self._client().list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=_MOST_LISTED)
            )
        except ObjectMissing:
            return ()
        return tuple(
            StoredObject(ObjectPlace(bucket, one["Key"]), int(one["Size"]), str(one["ETag"]))
            for one in found.get("Contents", ())
        )

    async def delete(self, place: ObjectPlace) -> None:
        try:
            await self._call("delete_object", place)
        except ObjectMissing:
            return

    async def ensure_bucket(self, bucket: str) -> None:
        place = ObjectPlace(bucket, "")
        try:
            await self._in_thread(place, lambda: self._client().head_bucket(Bucket=bucket))
        except ObjectMissing:
            constraint = {} if self._region == "us-east-1" else {"LocationConstraint": self._region}
            options = {"CreateBucketConfiguration": constraint} if constraint else {}
            await self._in_thread(place, lambda: self._client().create_bucket(Bucket=bucket, **options))

    async def _abort(self, place: ObjectPlace, upload_id: str) -> None:
        """What cannot be cleared away now, the endpoint's own rules clear; the first failure is the one to tell."""
        try:
            await self._call("abort_multipart_upload", place, UploadId=upload_id)
        except DriverError:
            return

    async def _call(self, operation: str, place: ObjectPlace, **arguments: Any) -> Any:
        return await self._in_thread(
            place, lambda: getattr(self._client(), operation)(Bucket=place.bucket, Key=place.key, **arguments)
        )

    async def _in_thread(self, place: ObjectPlace, call: Callable[[], T]) -> T:
        """Raises ObjectMissing, ObjectRefused, DriverUnavailable."""
        try:
            return await asyncio.to_thread(call)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _MISSING:
                raise ObjectMissing(place) from error
            if code in _PASSING:
                raise DriverUnavailable(f"The S3 endpoint {self._endpoint_url} does not serve now: {code}.") from error
            raise ObjectRefused(f"The S3 endpoint refuses {place}: {code or 'no reason given'}.") from error
        except (BotoCoreError, OSError) as error:
            raise DriverUnavailable(
                f"The S3 endpoint {self._endpoint_url} does not answer ({type(error).__name__})."
            ) from error

    def _client(self) -> Any:
        """Return the client, made at the first use: that takes 100 ms, and a client may be used by many threads."""
        with self._lock:
            if self._made is None:
                self._made = botocore.session.Session().create_client(
                    "s3",
                    region_name=self._region,
                    endpoint_url=self._endpoint_url,
                    aws_access_key_id=self._key[0],
                    aws_secret_access_key=self._key[1],
                    verify=self._verify,
                    config=Config(
                        # Names of buckets in the path: endpoints of one's own have no DNS for them.
                        s3={"addressing_style": "path"},
                        connect_timeout=5,
                        read_timeout=60,
                        retries={"mode": "standard", "total_max_attempts": 3},
                        max_pool_connections=16,
                        # Other endpoints than AWS do not all know the newer checksums.
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                    ),
                )
            return self._made


async def _parts(content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the content in parts of one size, but for the last; at least one, which may be empty."""
    pending = bytearray()
    is_first = True
    async for chunk in content:
        pending += chunk
        while len(pending) >= PART_IN_BYTES:
            yield bytes(pending[:PART_IN_BYTES])
            is_first = False
            del pending[:PART_IN_BYTES]
    if pending or is_first:
        yield bytes(pending)
