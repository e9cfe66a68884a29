"""Mutated requests of every route against a real server, which must answer each and believe none of them.

    python -m benchmarks.fuzz [--requests N] [--seed N] [--case N]

Valid requests come out of the server's own OpenAPI document (`forms`), so a new route or field is covered by
itself. `mutations` spoils them: what they say, how they are framed, or their bare bytes. `cases` puts them on
connections, `exchange` sends them in odd pieces and reads the answers, `ledger` keeps books, `run` judges:

- no 5xx, but for a 503 with Retry-After; no answer missing, cut or malformed; no hang;
- in the end nothing is stored that was not acknowledged, nothing acknowledged is lost, the store is true in
  itself (what ``aq doctor`` looks at), the log has no traceback, and memory has stayed within a bound.

Exit code 0 only when all of that holds.
"""
