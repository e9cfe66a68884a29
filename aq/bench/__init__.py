"""What ``aq bench`` is made of, to tune one's own server or engine; ``benchmarks/`` builds its tables on it.

plan.py      what to send: how many tasks a request, over how many connections, at what rate
load.py      sends it over HTTP, closed loop or open loop; a program too (python -m aq.bench.load)
sink.py      a webhook receiver that is never the bottleneck, in a process of its own
programs.py  starts such processes, talks to the sink, ends them
embedded.py  the same plan against an engine in this process, with any runner
spread.py    durations as a histogram of constant size

Latency in an open loop counts from when a request was *meant* to be sent: a server that stalls for a second
delays every request of that second, and each of them says so (no coordinated omission).
"""
