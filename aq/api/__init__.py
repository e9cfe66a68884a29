"""The HTTP face: parse, authenticate, answer. The only place that knows HTTP and JSON names.

`app` puts the rooms together; a request passes `front` (accept, slow and malformed clients), `requests` (its
id), `auth`, then a route of `tasks`, `queues`, `health` or `receiver`, which reads with `body` and `query`,
asks the engine and answers with `views`. Whatever goes wrong becomes a `problems` document.
Beside each handler stands its `openapi.operation`; `docs` serves what is made of them.
"""
