"""A process that appends to three runs until it is killed, and says `<run id> <seq>` for each record that is kept."""

import sys
from pathlib import Path

import anyio

from agentic_fleet.errors import NotFound
from agentic_fleet.store import Store
from agentic_fleet.store.sqlite import open_sqlite
from tests.store.samples import append, start


async def append_on(store: Store, run_id: str) -> None:
    try:
        seq = (await store.run(run_id)).last_seq
    except NotFound:
        seq = (await start(store, run_id, of=run_id)).last_seq
    while True:
        seq += 1
        await append(store, seq, run_id, of=run_id)
        print(run_id, seq, flush=True)


async def main(path: Path) -> None:
    async with open_sqlite(path) as store, anyio.create_task_group() as tasks:
        for run_id in ("a", "b", "c"):
            tasks.start_soon(append_on, store, run_id)


anyio.run(main, Path(sys.argv[1]))
