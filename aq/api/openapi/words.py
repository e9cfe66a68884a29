"""A word on each field that requests may hold, as people read it in the documentation."""

from __future__ import annotations

from typing import Final

from aq.claiming import KEPT

_HOURS: Final = KEPT // 3_600

NEW_TASK: Final = {
    "queue": "The queue, which is made by its first task",
    "webhook_url": "Where the task is delivered: an absolute http or https URL of printable ASCII, without "
    "credentials and fragment",
    "payload": "Forwarded byte for byte. At most 1 MiB of JSON, nested at most 64 levels",
    "delay": "Seconds until the first attempt; not together with `run_at`",
    "priority": "Higher goes first",
    "max_retries": "How often a failed attempt is followed by another one; null: as the queue says",
    "timeout": "Seconds that an attempt may take in all; null: as the queue says",
    "run_at": "When the first attempt is due (RFC 3339, with its offset); not together with `delay`",
    "expires_in": "Seconds after which no attempt starts any more; null: never",
    "method": "How the webhook is asked. A GET has no body",
    "headers": "Sent along with each delivery, and shown as `***`. At most 8 KiB in all; not those that the "
    "connection or the service sets (such as `host`, `content-type`, `webhook-…`, `x-asyncqueue-…`)",
    "ordering_key": "Tasks of one key run one at a time, in the order of their creation",
    "tags": "For finding it again; one that is repeated counts once",
    "callback_url": "Told of the end of the task, completed or failed; like `webhook_url`",
    "idempotency_key": f"Repeated within {_HOURS} hours, a request gets the answer of the first one",
}
NEW_TASKS: Final = {
    "tasks": "One idempotency key, in the header, covers them all",
}
RATE_LIMIT: Final = {
    "per_second": "Starts per second; fractions are allowed",
    "burst": "How many may start at once after a pause; null: one second's worth",
}
NEW_QUEUE: Final = {
    "name": "Its name",
}
POLICY: Final = {
    "max_retries": "How often a failed attempt is followed by another one",
    "retry_backoff": "How the wait grows from `retry_delay`: exponential × 1, 2, 4, 8 …, linear × 1, 2, 3 …, "
    "fixed × 1",
    "retry_delay": "Seconds from the end of the first failed attempt to the next one",
    "retry_delay_max": "Seconds that the wait grows to at most",
    "retry_jitter": "Up to this share of the wait is added by chance; never taken away",
    "timeout": "Seconds that an attempt may take in all",
    "concurrency": "Attempts in flight at most",
    "destination_concurrency": "Attempts in flight at most for each scheme, host and port; null: no limit",
    "rate_limit": "How many attempts may start per second; null: no limit",
    "paused": "While true nothing starts; running attempts finish",
    "retention_completed": "Seconds for which completed tasks are kept",
    "retention_failed": "Seconds for which failed tasks are kept",
    "retention_max_tasks": "Finished tasks kept at most, whatever their age",
    "signing_secrets": "One or two that all sign this queue's webhooks; shown as `***`; null: the service's",
}
PURGE: Final = {
    "dry_run": "Only count",
}
RETRY: Final = {
    "tag": "Only those with this tag",
    "error_type": "Only those whose last attempt ended so, or whose time ran out (`expired`)",
    "destination": "Only those that go to this scheme, host and port",
    "failed_after": "Only those that failed at this instant or later (RFC 3339)",
    "failed_before": "Only those that failed before this instant (RFC 3339)",
    "limit": "At most so many, those created first",
    "dry_run": "Only count",
}
SCHEDULE: Final = {
    "task": "The fields of the task that is made each time, without times",
    "cron": "Five fields (minute, hour, day of month, month, day of week), such as `30 9 * * MON-FRI`",
    "every": "Seconds from one task to the next, in place of `cron`",
    "timezone": "The IANA time zone that `cron` is read in, such as `Europe/Berlin`",
    "overlap": "While the task of the time before has not ended: `skip` makes none, `allow` makes another",
    "catch_up": "What passed while the service was down: none is made up for, the last one, or all",
}
NEW_KEY: Final = {
    "name": "For people",
    "environment": "`test` is the sandbox: apart from live, and nothing in it is delivered",
    "scopes": "What it may do; no scope includes another. `admin` is for API keys themselves",
    "queues": "The only queues that it may see and use; null: all",
    "rate_limit_per_minute": "Requests per minute; null: no limit",
}
QUERY: Final = {
    "queue": "Only of this queue",
    "status": "Only of this status",
    "tag": "Only those with this tag",
    "error_type": "Only those whose latest attempt ended so, or whose time ran out (`expired`)",
    "destination": "Only those that go to this scheme, host and port",
    "created_after": "Only those created at this instant or later (RFC 3339)",
    "created_before": "Only those created before this instant (RFC 3339)",
    "limit": "How many on a page; 20 unless told",
    "offset": "How many to pass over; further on, page with `cursor`",
    "cursor": "The `next_cursor` of the page before, with the same filters",
    "wait": "Seconds to wait for the end of the task; the answer comes then, or when they are over",
    "task": "Only of this task",
    "stats": "With a `stats` event each second",
    "window": "Seconds to look back over: 900 unless told",
}
PATH: Final = {
    "task_id": "The id of a task",
    "name": "The name of a queue",
    "schedule_id": "The id of a schedule",
    "key_id": "The id of an API key (not the key)",
}
