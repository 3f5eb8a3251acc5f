"""Make OLD what NEW is, by a table of changes: python apply_changes.py TABLE NEW OLD. It knows nothing of the tool."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

table, new, old = map(os.fsencode, sys.argv[1:4])
meaning = {b"\\\\": b"\\", b"\\t": b"\t", b"\\n": b"\n", b"\\r": b"\r"}
rows = [line.split(b"\t")[:2] for line in Path(os.fsdecode(table)).read_bytes().split(b"\n")[2:-1]]
paths = {
    op: [re.sub(rb"\\.", lambda m: meaning[m[0]], name) for o, name in rows if o == op] for op in (b"D", b"A", b"M")
}
for path in reversed(paths[b"D"]):
    (os.rmdir if path.endswith(b"/") else os.unlink)(os.path.join(old, path).rstrip(b"/"))
folders = {os.path.dirname(path.rstrip(b"/")) for each in paths.values() for path in each}
for path in sorted(paths[b"A"] + paths[b"M"]):
    if path.endswith(b"/"):
        os.makedirs(os.path.join(old, path), exist_ok=True)
        folders.add(path.rstrip(b"/"))
    else:
        subprocess.run(
            ["cp", "-aT", "--remove-destination", os.path.join(new, path), os.path.join(old, path)], check=True
        )
for path in sorted(path for path in folders if os.path.isdir(os.path.join(new, path))):
    ours, theirs = os.path.join(new, path), os.path.join(old, path)
    for key in set(os.listxattr(theirs)) - set(os.listxattr(ours)):
        os.removexattr(theirs, key)
    os.chown(theirs, os.stat(ours).st_uid, os.stat(ours).st_gid)
    shutil.copystat(ours, theirs)
