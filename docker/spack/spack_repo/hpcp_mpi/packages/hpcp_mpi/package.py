from spack.package import depends_on, license, version
from spack_repo.builtin.build_systems.python import PythonPackage


class HpcpMpi(PythonPackage):
    """Copies, mirrors, moves, compares, lists and removes file trees with every node of an MPI or Slurm job."""

    pypi = "hpcp-mpi/hpcp_mpi-0.1.0.tar.gz"

    license("BSD-3-Clause")

    # Without a checksum as long as it is not released: spack dev-build, in a clone.
    version("0.1.0")

    depends_on("python@3.10:", type=("build", "run"))
    depends_on("py-setuptools@77:", type="build")
    depends_on("py-mpi4py@3.1.4:", type=("build", "run"))
    depends_on("py-numpy@1.23.2:", type=("build", "run"))
    depends_on("py-xxhash@3.1:", type=("build", "run"))
    depends_on("py-rich@13.3:", type=("build", "run"))
    # Its mpiexec, and the flavour of PMI that srun is told. Copies are made by the system's GNU cp.
    depends_on("mpi", type="run")
