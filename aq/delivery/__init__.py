"""Everything that opens outgoing sockets: sign, guard, connect, send, judge.

webhook.py     one attempt from end to end: `WebhookRunner`, opened by `open_webhook_runner`
signing.py     the signatures on a request, and how a receiver verifies them (pure)
diagnosis.py   why one does not hold, as far as that can be found out (pure)
addresses.py   where a webhook may go (pure)
judge.py       what an answer means (pure)
transport.py   one HTTP exchange: over our own pool, or over any httpx transport
pool.py        which idle connection to use again, and which to close (pure)
connect.py     a name to judged addresses, to one connected stream
streams.py     bytes over TCP and over TLS
wire.py        one request and one response over a stream, under caps
stopwatch.py   where the time of an exchange goes, also of one that fails
protocol.py    the seams between these and the rest of the service
"""
