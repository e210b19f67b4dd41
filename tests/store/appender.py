"""A process that goes on with three runs until it is killed, and says `<run id> <seq>` for all that it has kept.

That is: a record of that number, and before it a step and a checkpoint of that name.
"""

import sys
from pathlib import Path

import anyio

from agentic_fleet.errors import NotFound
from agentic_fleet.store import Store
from agentic_fleet.store.sqlite import open_sqlite
from tests.store.samples import append, checkpoint, start


async def append_on(store: Store, run_id: str) -> None:
    try:
        seq = (await store.run(run_id)).last_seq
    except NotFound:
        seq = (await start(store, run_id, of=run_id)).last_seq
    while True:
        seq += 1
        await store.keep_step(run_id, str(seq), b"%d" % seq)
        await store.keep_checkpoint(run_id, checkpoint(str(seq)))
        await append(store, seq, run_id, of=run_id)
        print(run_id, seq, flush=True)


async def main(path: Path) -> None:
    async with open_sqlite(path) as store, anyio.create_task_group() as tasks:
        for run_id in ("a", "b", "c"):
            tasks.start_soon(append_on, store, run_id)


anyio.run(main, Path(sys.argv[1]))
