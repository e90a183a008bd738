#!/bin/sh
# A connection of SQLite that is opened read-only (mode=ro) writes beside the database all the same:
# in WAL mode it makes a file -shm of 32 KiB and an empty -wal where both were gone, and leaves them
# there when it is closed.  So a check that is to change nothing, on a disk that may be full or in a
# directory that is compared, needs immutable=1, which in turn does not look at a log.
# Guessed before: a read-only connection makes no file, or at least removes what it has made.
# Seen with apsw 3.54.1.0, which brings SQLite 3.54.1, on Linux.
# Source: run it; https://www.sqlite.org/wal.html, "Read-Only Databases", says when the files are needed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check apsw==3.54.1.0
"$folder/venv/bin/python" - "$folder" <<'PY'
import os, sys, apsw
folder = os.path.join(sys.argv[1], "data")
os.mkdir(folder)
path = os.path.join(folder, "state.db")
with_wal = apsw.Connection(path)
with_wal.execute("PRAGMA journal_mode=WAL")
with_wal.execute("CREATE TABLE t (x)")
with_wal.close()
print("SQLite", apsw.sqlite_lib_version())
print("after the writer:", sorted(os.listdir(folder)))
reader = apsw.Connection(f"file:{path}?mode=ro", flags=apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READONLY)
print("rows:", reader.execute("SELECT count(*) FROM t").fetchall())
reader.close()
found = {name: os.stat(os.path.join(folder, name)).st_size for name in sorted(os.listdir(folder))}
print("after the read-only connection:", found)
sys.exit(0 if found.get("state.db-shm") == 32768 and found.get("state.db-wal") == 0 else 1)
PY
