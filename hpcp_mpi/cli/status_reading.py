"""Looking at a run from outside, by its ledger."""

from hpcp_mpi.vocab.ledger_status import Account


def account_of(path: bytes) -> Account:
    """Return what the ledger at path tells. Raises FatalError."""
    from hpcp_mpi.ledger.reader import read  # which loads SQLite

    return read(path)
