"""Several processes that serve one model (ranks) -> one policy, changed on all of them at the same step or on none.

    ranks = lz.join_ranks(tp=4)                     # on every rank, after torch.distributed.init_process_group
    ranks.configure("policy.lzp", watch=True)       # on every rank: all agree, or none has it
    while serving:
        ranks.step()                                # on every rank, before each forward pass
        model(batch)

A *step* is one turn of the loop that all ranks go through together: a forward pass of an engine (vLLM's
`execute_model`), an iteration of a training loop. `step()` says that one begins; it is called as often on every rank,
where no call of `lz.*` is under way. Between two steps a new policy is read and compiled in threads and processes
beside the loop. When all ranks have it and agree, they promise a step that none has reached yet, and each swaps when
its own loop gets there: one assignment. So no rank waits for a compiler, pipeline stages need not be at the same step
at the same time, and two ranks never run one step under two policies.

The ranks talk through the store that torch.distributed keeps for the group, in threads of their own. No collective is
used, so nothing can come between those of the model, and a rank that is slow or dead breaks no communicator. What was
decided is one entry of the store, which the first writer sets for all.
"""

from layerzero.distributed.ranks import Ranks, RanksStatus, join

__all__ = ["Ranks", "RanksStatus", "join"]
