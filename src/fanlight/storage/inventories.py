"""Who has how much in the home folders: of each user the bytes and the files, by the name that the prefix gives."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fanlight.domain.user_storage import HOME_BUCKETS, StorageUsage

_STEPS_OF_A_USER = 3  # user/<type>/<digest>/


def usage_on_this_host(buckets: Path) -> Sequence[StorageUsage]:
    """Look at every file of every home folder. Raises OSError."""
    return [
        one for bucket in sorted(buckets.glob(f"{HOME_BUCKETS}*")) for one in summed(bucket.name, _files_in(bucket))
    ]


def summed(bucket: str, files: Iterable[tuple[str, int]]) -> Sequence[StorageUsage]:
    """Return the sums of keys and sizes, by user. A key that ends with a slash stands for a folder."""
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for key, size in files:
        steps = key.split("/")
        if len(steps) > _STEPS_OF_A_USER:
            prefix = "/".join(steps[:_STEPS_OF_A_USER]) + "/"
            sizes[prefix] += size
            counts[prefix] += not key.endswith("/")
    return [
        StorageUsage(bucket=bucket, prefix=prefix, size_in_bytes=sizes[prefix], files=counts[prefix])
        for prefix in sorted(sizes)
    ]


def _files_in(bucket: Path) -> Iterator[tuple[str, int]]:
    for folder, folders, names in os.walk(bucket):
        place = os.path.relpath(folder, bucket)
        yield from ((f"{place}/{name}/", 0) for name in folders)
        for name in names:
            with suppress(OSError):  # removed meanwhile
                yield f"{place}/{name}", os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - thousands of them


def size_below(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):  # removed meanwhile
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - thousands of them
    return total
