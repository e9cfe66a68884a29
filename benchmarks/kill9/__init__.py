"""``aq serve`` ended again and again in the middle of its work; every promise must have held.

ledger     what was asked, what was acknowledged, what arrived, how each life ended
lives      the server process: begun in a moment, killed with -9, told to end
receiver   the webhooks: they work, fail, hang up, are slow, hang; each delivery is written down
clients    the load, without a pause over every life
reaper     when a life ends, and how
judge      the ledger against the store, rule by rule (pure)
run        all of it together
"""
