"""A stand-in for the image that the Dockerfile starts from, as registries may be out of reach.

Debian's packages make it, once per machine: it is kept in $HPCP_MPI_TEST_CACHE, else in /var/cache/hpcp-mpi-tests. What
it takes to trust this machine's network is added here, so that the Dockerfile is built as it is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from tests.docker.commands import insist

NAME = "debian:bookworm-slim"
CACHE = Path(os.environ.get("HPCP_MPI_TEST_CACHE", "/var/cache/hpcp-mpi-tests"))
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# What the slim image leaves out, too.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def tarball() -> Path:
    """The root file system as a tar file. Makes it if it is not there; others wait meanwhile."""
    suite = NAME.split(":")[1].removesuffix("-slim")
    made = CACHE / f"{suite}-minbase.tar"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            # Under another name until it is complete.
            half = made.with_suffix(".half.tar")
            left_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
            insist(["mmdebstrap", "--variant=minbase", *left_out, suite, half], timeout=150, attempts=2)
            half.rename(made)
    return made


def write_context(directory: Path, plain: str) -> None:
    """Write the Dockerfile that adds this machine's certificates to the image named plain."""
    # The slim image has these two as well: nothing in an image survives a crash by having been synced.
    lines = [
        f"FROM {plain}",
        "RUN echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/docker-apt-speedup",
        """RUN echo 'Acquire::Languages "none";' >/etc/apt/apt.conf.d/docker-no-languages""",
    ]
    if _CERTIFICATES.exists():
        shutil.copy(_CERTIFICATES, directory / "certificates")
        # Not where Debian's package of that name, which pip brings, would write.
        lines += ["COPY certificates /etc/ssl/of-the-host", "ENV PIP_CERT=/etc/ssl/of-the-host"]
    (directory / "Dockerfile").write_text("\n".join(lines) + "\n")
