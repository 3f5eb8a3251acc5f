from spack.package import depends_on, license, version
from spack_repo.builtin.build_systems.python import PythonPackage


class HpcpMpi(PythonPackage):
    """Copies, mirrors, moves, compares, lists and removes file trees with every node of an MPI or Slurm job."""

    pypi = "hpcp-mpi/hpcp_mpi-0.1.0.tar.gz"

    license("BSD-3-Clause")

    # Without a checksum as long as it is not released: spack dev-build, in a clone.
    version("0.1.0")

    depends_on("python@3.10:", type=("build", "run"))
    depends_on("py-setuptools@64:", type="build")
    depends_on("py-mpi4py", type=("build", "run"))
    depends_on("py-numpy", type=("build", "run"))
    depends_on("py-xxhash", type=("build", "run"))
    depends_on("py-rich", type=("build", "run"))
    depends_on("py-shtab", type=("build", "run"))
    # Its mpiexec, and the flavour of PMI that srun is told. Copies are made by the system's GNU cp.
    depends_on("mpi", type="run")
