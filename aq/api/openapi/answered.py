"""The documents of answers and webhooks, member by member. Tests hold them to what the app answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aq.api.openapi.accepted import accepted
from aq.api.openapi.shapes import (
    Schema,
    count,
    document,
    flag,
    instant,
    items,
    number,
    or_null,
    ref,
    text,
    word,
)
from aq.apikey import KeyEnvironment, Scope
from aq.explanation import Why
from aq.outcome import AttemptStatus, ErrorType
from aq.policy import QueuePolicy
from aq.rules import rules_of
from aq.schedule import CatchUp, Overlap
from aq.task import FailureReason, Method, Status

_STEPS: Final = ("dns", "connect", "tls", "ttfb", "total")
_PACE: Final = ("created", "started", "completed", "failed", "retried")
_HIDDEN: Final = "Their names; each value shows as `***`"

_TASK: Final[Mapping[str, Schema]] = {
    "id": text("Ids sort by creation"),
    "queue": text("The name of its queue"),
    "status": word("Delayed, waiting its turn and waiting for a retry are all `pending`", Status),
    "priority": count("1 to 10, higher goes first"),
    "delay": count("Seconds asked for"),
    "created_at": instant("When it was accepted"),
    "run_at": instant("When its first attempt was asked to be due"),
    "due_at": or_null(instant("While pending: when the next attempt is due")),
    "expires_in": or_null(count("Seconds asked for")),
    "expires_at": or_null(instant("No attempt starts from then on")),
    "webhook_url": text("Where it is delivered"),
    "method": word("How the webhook is asked", Method),
    "headers": {"type": "object", "additionalProperties": text("Hidden"), "description": _HIDDEN},
    "max_retries": count("In force: its own, else its queue's"),
    "timeout": number("Seconds, in force: its own, else its queue's"),
    "ordering_key": or_null(text("Tasks of one key run one at a time")),
    "tags": items(text("A tag"), "Its tags"),
    "callback_url": or_null(text("Told of its end")),
    "callback": {
        "anyOf": [ref("Callback"), {"type": "null"}],
        "description": "The delivery that tells of its end, once there is one; shown of one task only",
    },
    "schedule_id": or_null(text("The schedule that made it")),
    "attempt": or_null(count("While active: the number of the attempt")),
    "started_at": or_null(instant("While active: when the attempt began")),
    "completed_at": or_null(instant("When it was completed")),
    "failed_at": or_null(instant("When it failed for good")),
    "failure_reason": or_null(
        word("`gone`: the receiver answered 410; `expired`: its time ran out", FailureReason)
    ),
    "error_type": or_null(
        word("Of the latest attempt, unless it succeeded; `expired`: its time ran out", ErrorType)
    ),
}

_ATTEMPT: Final[Mapping[str, Schema]] = {
    "number": count("From 1"),
    "status": word(
        "How it ended; `unknown`: the service died meanwhile, and the receiver may have done the work",
        AttemptStatus,
    ),
    "response_code": or_null(count("The status of the answer")),
    "executed_at": instant("When it began"),
    "error_type": or_null(word("The kind of what went wrong", ErrorType)),
    "error": or_null(text("One line for people")),
    "duration_ms": count("From its beginning to its end"),
    "lateness_ms": {"type": "integer", "description": "Start minus due"},
    "timing_ms": {
        "anyOf": [ref("Timing"), {"type": "null"}],
        "description": "Where the time went",
    },
    "response_body": or_null(text("The first 16 KiB of the answer, of a success 1 KiB")),
}

_SCHEDULE: Final[Mapping[str, Schema]] = {
    "id": text("Its id"),
    "cron": or_null(text("Five fields")),
    "every": or_null(count("Seconds, in place of `cron`")),
    "timezone": text("What `cron` is read in"),
    "task": {
        "type": "object",
        "properties": {"queue": text("The name of the queue")},
        "required": ["queue"],
        "additionalProperties": True,
        "description": "The fields of its task as they were given; headers as `***`, no payload in lists",
    },
    "overlap": word("While the task of the time before has not ended", Overlap),
    "catch_up": word("What is made up for after the service was down", CatchUp),
    "paused": flag("While true it makes no tasks"),
    "created_at": instant("When it was made"),
    "last_run_at": or_null(instant("When its latest task was made")),
    "last_task_id": or_null(text("Its latest task, which may be gone by now")),
    "next_runs": items(instant("A time to come"), "The next times; none while paused"),
}

_API_KEY: Final[Mapping[str, Schema]] = {
    "id": text("Its id, which is no secret"),
    "name": text("For people"),
    "environment": word("`test` is the sandbox", KeyEnvironment),
    "scopes": items(word("A scope", Scope), "What it may do"),
    "queues": or_null(items(text("The name of a queue"), "The only queues that it may see and use")),
    "rate_limit_per_minute": or_null(count("Requests")),
    "created_at": instant("When it was made"),
    "revoked_at": or_null(instant("Since when it is not valid")),
}


def answered() -> Mapping[str, Schema]:
    """The documents, by name."""
    return {**_tasks(), **_queues(), **_others(), **_service(), **_deliveries()}


def _tasks() -> Mapping[str, Schema]:
    callback = {
        "id": text("The `webhook-id` of the callback"),
        "status": word("Whether the callback is delivered", Status),
        "attempts": count("How many have begun"),
    }
    steps = {name: or_null(count(f"Of the step {name}")) for name in _STEPS}
    payload: Schema = {
        "type": ["object", "null"],
        "description": "As it was sent",
        "additionalProperties": True,
    }
    pagination = document(
        "Where the page is",
        total=or_null(count("How many there are on all pages; null where that is not counted")),
        limit=count("How many are on a page"),
        offset=or_null(count("How many were passed over; null after a cursor")),
        has_more=flag("Whether there is a next page; a page with more to come may be short"),
        next_cursor=or_null(text("For the next page")),
    )
    reasons = items(ref("Reason"), "Everything that is in the way, the first thing first")
    return {
        "Task": document("A task without its payload and attempts.", **_TASK),
        "WholeTask": document(
            "A task with everything that is kept of it.",
            **_TASK,
            payload=payload,
            attempts=items(ref("Attempt"), "Those that have ended"),
        ),
        "Attempt": document("One delivery that has ended.", **_ATTEMPT),
        "Timing": document("Milliseconds; null where a step did not happen.", **steps),
        "Callback": document("The delivery that tells of a task's end.", **callback),
        "Tasks": document("Tasks in the order of the request.", tasks=items(ref("Task"), "As accepted")),
        "TaskPage": document(
            "A page of a list.", tasks=items(ref("Task"), "Newest first"), pagination=pagination
        ),
        "Explanation": document(
            "Why a task is not running, and the retries it has left.",
            task_id=text("The task"),
            status=word("Its state", Status),
            reasons=reasons,
            tasks_ahead=count("How many start before it"),
            tasks_ahead_exact=flag("False where storage may hold more"),
            retries=items(ref("ComingRetry"), "Should every attempt before fail at once"),
        ),
        "Reason": document(
            "One thing in the way.",
            reason=word("Its kind", Why),
            detail=text("One line for people"),
            until=or_null(instant("Until when, where that is known")),
        ),
        "ComingRetry": document(
            "A retry to come.",
            attempt=count("Its number"),
            wait=number("Seconds after the attempt before, without jitter"),
            at=instant("When it would be due"),
        ),
    }


def _queues() -> Mapping[str, Schema]:
    policy = {
        name: {word: value for word, value in schema.items() if word != "default"}
        for name, schema in accepted()["NewQueue"]["properties"].items()
        if name in rules_of(QueuePolicy)
    }
    policy["rate_limit"] = {**policy["rate_limit"], "anyOf": [ref("RateLimit"), {"type": "null"}]}
    hidden = items(text("`***`"), "As many as there are, each shown as `***`")
    policy["signing_secrets"] = or_null(hidden)
    counts = document(
        "How many tasks there are",
        pending=count("Waiting"),
        scheduled=count("Those of `pending` that are not yet due"),
        active=count("Running"),
        completed=count("Completed and still kept"),
        failed=count("Failed and still kept"),
    )
    return {
        "Queue": document(
            "A queue with its policy, counts and pace.",
            name=text("Its name"),
            **policy,
            created_at=instant("When it was made"),
            counts=counts,
            lateness=number("Seconds that the oldest due task has waited"),
            rates=document("Per second, over the last minute", **{name: number(name) for name in _PACE}),
        ),
        "Queues": document("Queues.", queues=items(ref("Queue"), "By name")),
        "Count": document("How many tasks it was about.", count=count("Tasks")),
    }


def _others() -> Mapping[str, Schema]:
    late = document("Percentiles in milliseconds", p50=number("p50"), p95=number("p95"), p99=number("p99"))
    point = {name: count(f"How many were {name}") for name in _PACE}
    return {
        "Schedule": document("A schedule.", **_SCHEDULE),
        "Schedules": document("Schedules.", schedules=items(ref("Schedule"), "In the order of creation")),
        "ApiKey": document("An API key without its text.", **_API_KEY),
        "ApiKeyWithText": document(
            "An API key with its text, which is told this once.", **_API_KEY, key=text("The key")
        ),
        "ApiKeys": document("API keys.", apikeys=items(ref("ApiKey"), "By id, revoked ones too")),
        "Stats": document(
            "A series of equal steps up to now.",
            window=count("Seconds"),
            step=count("Seconds"),
            queue=or_null(text("The queue asked for; null: all that the key may see")),
            series=items(ref("StatsPoint"), "Every step, the oldest first"),
        ),
        "StatsPoint": document(
            "What happened in one step; `retried` are attempts that ended with another one to come.",
            at=instant("When it began"),
            **point,
            lateness_ms=or_null(late),
        ),
    }


def _service() -> Mapping[str, Schema]:
    problem = document(
        "What went wrong (RFC 9457).",
        type=text("Its kind, for programs: `urn:problem-type:asyncqueue:…`"),
        title=text("Its kind, for people"),
        status=count("The status of the answer"),
        detail=text("One line that says what to do, where something can be done"),
        error=text("The same line"),
    )
    wrong = document(
        "A field that is wrong.",
        field=text("Its path as it was sent, such as `priority` or `tasks[2].queue`"),
        message=text("Worded to follow the name of the field"),
    )
    invalid = document(
        "Every wrong, missing and unknown field or parameter at once.",
        **problem["properties"],
        errors=items(ref("WrongField"), "One or more"),
    )
    return {
        "Problem": problem,
        "InvalidFields": invalid,
        "WrongField": wrong,
        "OpenApi": {"type": "object", "required": ["openapi", "info", "paths"], "additionalProperties": True},
        "Health": document("The process answers.", status=text("`ok`", const="ok")),
        "Readiness": document(
            "Whether new work is taken.",
            status=text(
                "`degraded`: it works, and something should be looked at",
                enum=["ready", "degraded", "not ready"],
            ),
            problems=items(text("One line for people"), "What an operator should look at"),
        ),
    }


def _deliveries() -> Mapping[str, Schema]:
    return {
        "Delivery": document(
            "What a webhook is sent.",
            task_id=text("The same as `webhook-id`, for each attempt"),
            queue=text("The name of the queue"),
            payload={
                "type": "object",
                "description": "As the task was given it",
                "additionalProperties": True,
            },
            attempt=count("From 1"),
        ),
        "CallbackDelivery": document(
            "What a `callback_url` is sent.",
            event=text("How the task ended", enum=["task.completed", "task.failed"]),
            task=ref("WholeTask"),
        ),
    }
