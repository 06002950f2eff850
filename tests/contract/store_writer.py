"""A process that writes stacks for ever and says each name once it is committed, until it is killed."""

import asyncio
import sys

from store_samples import stack

from fanlight.store import open_store


async def write(database_url: str) -> None:
    async with open_store(database_url) as store:
        number = 0
        while True:
            number += 1
            async with store.transactions.begin(write=True) as work:
                await work.stacks.add(stack(f"stack-{number:06}"))
                await work.tags.put(f"arn:{number}", {"number": str(number)})
                await work.commit()
            print(number, flush=True)


asyncio.run(write(sys.argv[1]))
