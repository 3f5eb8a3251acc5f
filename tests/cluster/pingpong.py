"""A program for ranks: every rank sends to every rank, each message is answered, and all leave together."""

import sys
import time

from hpcp_mpi.cluster.mpi import MpiWire, initialise
from hpcp_mpi.scheduling.messages import Shutdown, StartJob

ROUNDS = 20
SIZES = (0, 10, 100_000)  # bytes: eager and rendezvous

initialise(pmix=False)
wire = MpiWire()
others = [rank for rank in range(wire.size) if rank != wire.rank]
for rank in others:
    for number in range(ROUNDS):
        wire.send(rank, StartJob((number, bytes(SIZES[number % 3]))))
expected = dict.fromkeys(others, 0)  # the next number from each
answered = 0
deadline = time.monotonic() + 60
while answered < ROUNDS * len(others) or any(number < ROUNDS for number in expected.values()):
    received = wire.receive()
    if received is None:
        wire.wait(0.001)
        assert time.monotonic() < deadline, f"rank {wire.rank}: {answered} answers, {expected}"
        continue
    sender, message = received
    if isinstance(message, StartJob):
        number, content = message.job
        assert number == expected[sender], f"{number} of rank {sender} out of order"
        assert content == bytes(SIZES[number % 3])
        expected[sender] += 1
        wire.send(sender, Shutdown(number))
    else:
        answered += 1
assert wire.receive() is None
if wire.rank == 0 and "late" in sys.argv:  # the others are in close() by then, and poll
    wire.wait(0.5)
# Sent and never received before the end: close() must not wait for a reader that is gone.
wire.close()
sys.stdout.write(f"rank {wire.rank} of {wire.size} answered {answered}, {wire.mates >= 1}\n")
