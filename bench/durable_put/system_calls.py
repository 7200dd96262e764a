"""The peer: what a durable write of one file and one row costs when nothing else is done, one after the other.

Write a temporary file, fsync, rename; insert a row and commit (WAL, synchronous=FULL). With `--sync-folder` the
folder is synced too, without which a crash may lose the name. Prints its figures as JSON.
"""

import argparse
import json
import os
import random
import sqlite3
import time
from pathlib import Path

ROW_BYTES = 500
"""About what a record of ours has: id, key, digest, headers, metadata, times."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("bodies", type=Path)
    parser.add_argument("size", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--sync-folder", action="store_true")
    options = parser.parse_args()
    bodies = memoryview(options.bodies.read_bytes())
    starts = range(0, len(bodies) - options.size + 1, options.size)
    row = random.randbytes(ROW_BYTES)
    (options.folder / "files").mkdir(parents=True)
    database = sqlite3.connect(options.folder / "peer.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE record (id TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID")
    folder = os.open(options.folder / "files", os.O_RDONLY | os.O_DIRECTORY)
    operations = 0
    began, cpu_began = time.perf_counter(), time.process_time()
    deadline = began + options.seconds
    while time.perf_counter() < deadline:
        start = starts[operations % len(starts)]
        file = os.open("temporary", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        os.write(file, bodies[start : start + options.size])
        os.fsync(file)
        os.close(file)
        os.rename("temporary", f"file-{operations}", src_dir_fd=folder, dst_dir_fd=folder)
        if options.sync_folder:
            os.fsync(folder)
        database.execute("INSERT INTO record VALUES (?, ?)", (f"file-{operations}", row))
        operations += 1
    seconds = time.perf_counter() - began
    print(json.dumps({"operations": operations, "seconds": seconds, "cpu_seconds": time.process_time() - cpu_began}))


if __name__ == "__main__":
    main()
