"""A program for two ranks: the sender of a big message polls often until that is sent, and not afterwards."""

import time

from hpcp_mpi.cluster.mpi import MpiWire, initialise
from hpcp_mpi.scheduling.messages import StartJob

LONG = 0.005  # seconds

initialise(pmix=False)
wire = MpiWire()
deadline = time.monotonic() + 30
if wire.rank:
    waits: list[float] = []
    sleep = wire._waker.wait

    def noted(seconds: float) -> bool:
        waits.append(seconds)
        return sleep(seconds)

    wire._waker.wait = noted  # type: ignore[method-assign,assignment]
    wire.send(0, StartJob(bytes(16 << 20)))
    wire.wait(LONG)  # rank 0 does not look before this message
    wire.send(0, StartJob(None))
    while waits[-1] < LONG and time.monotonic() < deadline:
        wire.wait(LONG)
    print("often" if waits[0] < LONG / 10 else "seldom", "then seldom" if waits[-1] == LONG else "then often")
else:
    wire.wait(0.2)
    received = 0
    while received < 2 and time.monotonic() < deadline:
        received += wire.receive() is not None
wire.close()
