"""How a running service is watched from outside.

catalogue   every metric: its name, labels and meaning
metrics     their values, read when Prometheus asks
logs        what `aq serve` writes to its stderr
tracing     spans for OpenTelemetry (needs the extra `otel`), and export, where they go
traffic     what came over HTTP, and what was answered
"""
