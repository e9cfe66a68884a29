"""Real SQLite under power cuts: a Python VFS is the disk, and the disk loses what was not synced.

    python -m tests.powercut [--cuts N] [--worlds N] [--seed N]

    connection   the storage's few calls, spoken to the SQLite of apsw
    platter      what a disk keeps of writes, truncations, new and deleted names when the power goes
    machine      a VFS that writes down every operation, fails where it is told, and can lose its power
    life         seeded units through a store on a machine, with the truth after each commit
    judge        a surviving disk is opened and looked through
    cuts         many cuts of one life, then another life on one of the disks that came out of it
    errors       failing syncs, writes, reads, and a full disk, then a cut
    disk         such machines as the disk of the simulated worlds of aq.sim: the whole engine
    faults       what somebody might break one day; each must be found

The files of a machine lie in a directory of its own, and its shared memory is the real one: it is gone with
the process. Only apsw's SQLite opens them; two SQLite libraries on one file in one process would undo each
other's locks.
"""
