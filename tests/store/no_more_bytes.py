"""A process whose files may not grow for a while (RLIMIT_FSIZE), and what its store says then and after."""

import resource
import sys
from pathlib import Path

import anyio

from agentic_fleet.errors import StoreFailed
from agentic_fleet.store.sqlite import open_sqlite
from tests.store.samples import append, start


async def main(path: Path) -> None:
    async with open_sqlite(path) as store:
        await start(store)
        await append(store, 1)
        wal = anyio.Path(path.with_name(path.name + "-wal"))
        size = (await wal.stat()).st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            await store.ping()
        except StoreFailed as failure:
            print(failure)
        print("run kept", len(await store.events("run", after=0, limit=10)), "events")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await store.ping()
        print("The database works.")


anyio.run(main, Path(sys.argv[1]))
