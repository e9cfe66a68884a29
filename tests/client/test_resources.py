"""Every method of both clients, against a whole service: what is asked arrives, what is answered is typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from aq import client as aq_client
from aq.client.results import Queue, RateLimit
from tests.client.faces import RECEIVER, go, service
from tests.server.serve_world import KEY

FAR = {"webhook_url": "http://127.0.0.1:9/x", "delay": 3600}


async def test_a_task_is_made_waited_for_and_read(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            made = await go(
                client.tasks.create(
                    queue="q", webhook_url=server.url + RECEIVER, payload={"n": 1}, priority=8, tags=["a"]
                )
            )
            assert (made.queue, made.priority, made.tags, made.payload) == ("q", 8, ("a",), None)
            assert made.created_at.tzinfo is not None
            task = await go(client.tasks.wait(made.id, timeout=10))
            assert (task.id, task.status, task.ended, task.payload) == (made.id, "completed", True, {"n": 1})
            assert [(it.number, it.status, it.response_code) for it in task.attempts] == [(1, "success", 200)]
            assert task.attempts[0].timing_ms.total is not None
            assert (await go(client.tasks.get(made.id))).completed_at == task.completed_at
            assert (await go(client.tasks.get(made.id, wait=5))).status == "completed"

        await face(scenario, server.url, KEY)


async def test_every_field_of_a_task(face: Any) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    fields = {
        "queue": "q",
        "webhook_url": "http://127.0.0.1:9/x",
        "payload": {"é": [1.5, None, 2**70]},
        "priority": 9,
        "max_retries": 0,
        "timeout": timedelta(seconds=7),
        "method": "PUT",
        "headers": {"X-Tenant": "secret"},
        "expires_in": timedelta(days=1),
        "ordering_key": "customer 7",
        "tags": ("a", "b"),
        "callback_url": "http://127.0.0.1:9/y",
        "idempotency_key": "order-é".encode("ascii", "replace").decode(),
    }
    async with service() as server:

        async def scenario(client: Any) -> None:
            made = await go(client.tasks.create(**fields, run_at=at))
            assert made.run_at == at
            task = await go(client.tasks.get(made.id))
            shown = {name: getattr(task, name) for name in fields if hasattr(task, name)}
            assert shown == {
                **{name: value for name, value in fields.items() if name != "idempotency_key"},
                "timeout": 7,
                "expires_in": 86_400,
                "headers": {"x-tenant": "***"},
            }
            assert (await go(client.tasks.create(**fields, run_at=at))).id == made.id
            later = await go(client.tasks.create(**{**FAR, "delay": timedelta(minutes=2)}, queue="q"))
            assert later.delay == 120

        await face(scenario, server.url, KEY)


async def test_a_payload_in_bytes_is_kept_to_the_byte(face: Any) -> None:
    text = '{"a": 1.10,  "big": 123456789012345678901234567890, "é": "\\u00e9"}'.encode()
    async with service() as server:

        async def scenario(client: Any) -> None:
            made = await go(client.tasks.create(queue="q", payload=text, **FAR))
            task = await go(client.tasks.get(made.id))
            assert bytes(task.payload_json) == text
            assert task.payload == {"a": 1.1, "big": 123456789012345678901234567890, "é": "é"}
            assert text in msgspec.json.encode(task)

        await face(scenario, server.url, KEY)


async def test_a_batch_is_made_in_order_all_or_none(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            tasks = [{"queue": f"q{n % 2}", "payload": {"n": n}, **FAR} for n in range(150)]
            made = await go(client.tasks.create_batch(tasks, idempotency_key="one"))
            assert [task.queue for task in made] == [task["queue"] for task in tasks]
            again = await go(client.tasks.create_batch(tasks, idempotency_key="one"))
            assert [task.id for task in again] == [task.id for task in made]
            with pytest.raises(aq_client.ValidationFailed) as caught:
                await go(client.tasks.create_batch([*tasks, {"queue": "q", **FAR, "priority": 11}]))
            assert [wrong.field for wrong in caught.value.errors] == ["tasks[150].priority"]
            assert len(await go(client.tasks.list())) == 150

        await face(scenario, server.url, KEY)


async def test_a_list_goes_on_over_all_pages(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            made = await go(client.tasks.create_batch([{"queue": "q", **FAR}] * 345))
            await go(client.tasks.create(queue="other", tags=["t"], **FAR))
            ids = [task.id for task in reversed(made)]
            listed = client.tasks.list(queue="q", status="pending", limit=50)
            assert [task.id for task in await go(listed)] == ids
            assert [task.id for task in await go(listed)] == ids  # it can be read again
            pages = await go(listed.pages())
            assert [len(page.tasks) for page in pages] == [50] * 6 + [45]
            page = await go(listed.page())
            assert page.pagination.total == 345
            assert page.pagination.has_more is True
            rest = client.tasks.list(queue="q", status="pending", cursor=page.pagination.next_cursor)
            assert [task.id for task in await go(rest)] == ids[50:]
            passed = await go(client.tasks.list(queue="q", offset=340).page())
            assert [task.id for task in passed.tasks] == ids[340:]
            assert [task.id for task in await go(client.tasks.list(queue="q", offset=20))] == ids[20:]
            assert [task.queue for task in await go(client.tasks.list(tag="t"))] == ["other"]
            before = await go(client.tasks.list(created_before=datetime(2020, 1, 1, tzinfo=UTC)))
            assert before == []

        await face(scenario, server.url, KEY)


async def test_delete_retry_and_explain(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            waiting = await go(client.tasks.create(queue="q", **FAR))
            told = await go(client.tasks.explain(waiting.id))
            assert (told.task_id, told.reasons[0].reason) == (waiting.id, "scheduled")
            assert told.reasons[0].until == waiting.due_at
            assert [retry.attempt for retry in told.retries] == [2, 3, 4]
            assert await go(client.tasks.delete(waiting.id)) is None
            with pytest.raises(aq_client.NotFound):
                await go(client.tasks.get(waiting.id))
            failing = server.url + RECEIVER + "?status=500"
            made = await go(client.tasks.create(queue="q", webhook_url=failing, max_retries=0))
            failed = await go(client.tasks.wait(made.id, 10))
            assert (failed.status, failed.failure_reason, failed.error_type) == (
                "failed",
                "exhausted",
                "http_5xx",
            )
            with pytest.raises(aq_client.Conflict):
                await go(client.tasks.delete(made.id))
            assert (await go(client.tasks.retry(made.id))).id == made.id
            assert len((await go(client.tasks.wait(made.id, 10))).attempts) == 2

        await face(scenario, server.url, KEY)


async def test_a_wait_that_runs_out_says_how_the_task_stands(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            made = await go(client.tasks.create(queue="q", **FAR))
            with pytest.raises(aq_client.NotEnded, match=r"is pending after 0\.01 s") as caught:
                await go(client.tasks.wait(made.id, timeout=timedelta(milliseconds=10)))
            assert caught.value.task.id == made.id

        await face(scenario, server.url, KEY)


async def test_queues(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            rate = {"per_second": 5, "burst": 10}
            secret = "whsec_" + "c2VjcmV0" * 6
            made = await go(
                client.queues.create(
                    "mail.eu",
                    concurrency=4,
                    rate_limit=rate,
                    retry_delay=timedelta(minutes=1),
                    signing_secrets=[secret],
                )
            )
            assert isinstance(made, Queue)
            assert (made.concurrency, made.rate_limit, made.retry_delay) == (4, RateLimit(**rate), 60)
            assert made.signing_secrets == ("***",)
            with pytest.raises(aq_client.Conflict):
                await go(client.queues.create("mail.eu"))
            changed = await go(client.queues.update("mail.eu", rate_limit=None, timeout=3))
            assert (changed.rate_limit, changed.timeout, changed.concurrency) == (None, 3, 4)
            assert (await go(client.queues.pause("mail.eu"))).paused is True
            assert (await go(client.queues.resume("mail.eu"))).paused is False
            await go(client.tasks.create(queue="mail.eu", **FAR))
            assert (await go(client.queues.get("mail.eu"))).counts.scheduled == 1
            assert [queue.name for queue in await go(client.queues.list())] == ["mail.eu"]
            with pytest.raises(aq_client.Conflict):
                await go(client.queues.delete("mail.eu"))
            assert await go(client.queues.purge("mail.eu", dry_run=True)) == 1
            assert await go(client.queues.purge("mail.eu")) == 1
            assert (await go(client.queues.get("mail.eu"))).counts.pending == 0
            assert await go(client.queues.delete("mail.eu")) is None
            assert await go(client.queues.list()) == ()

        await face(scenario, server.url, KEY)


async def test_failed_tasks_of_a_queue_are_retried(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            failing = {"queue": "q", "webhook_url": server.url + RECEIVER + "?status=500", "max_retries": 0}
            for tag in ("a", "b"):
                made = await go(client.tasks.create(**failing, tags=[tag]))
                assert (await go(client.tasks.wait(made.id, 10))).status == "failed"
            before = datetime(2020, 1, 1, tzinfo=UTC)
            assert await go(client.queues.retry("q", dry_run=True)) == 2
            assert await go(client.queues.retry("q", dry_run=True, failed_before=before)) == 0
            assert (
                await go(client.queues.retry("q", tag="b", error_type="http_5xx", failed_after=before)) == 1
            )
            assert len((await go(client.tasks.wait(made.id, 10))).attempts) == 2

        await face(scenario, server.url, KEY)


async def test_schedules(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            task = {"queue": "q", "webhook_url": server.url + RECEIVER, "payload": {"kind": "daily"}}
            made = await go(
                client.schedules.create(
                    cron="30 9 * * MON-FRI",
                    timezone="Europe/Berlin",
                    task={**task, "timeout": timedelta(seconds=9)},
                )
            )
            assert (made.cron, made.timezone, len(made.next_runs)) == ("30 9 * * MON-FRI", "Europe/Berlin", 5)
            assert made.task == {**task, "timeout": 9}
            assert (await go(client.schedules.get(made.id))).id == made.id
            assert [it.id for it in await go(client.schedules.list())] == [made.id]
            changed = await go(client.schedules.update(made.id, every=timedelta(hours=1), overlap="skip"))
            assert (changed.cron, changed.every, changed.overlap) == (None, 3600, "skip")
            assert (await go(client.schedules.pause(made.id))).paused is True
            assert (await go(client.schedules.resume(made.id))).paused is False
            ran = await go(client.schedules.run(made.id))
            assert (await go(client.tasks.wait(ran.id, 10))).payload == {"kind": "daily"}
            assert ran.schedule_id == made.id
            assert await go(client.schedules.delete(made.id)) is None
            with pytest.raises(aq_client.NotFound):
                await go(client.schedules.get(made.id))

        await face(scenario, server.url, KEY)


async def test_keys(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            made = await go(client.keys.create(name="mailer", scopes=["read"], queues=["q"]))
            assert (made.name, made.scopes, made.queues, made.revoked_at) == (
                "mailer",
                ("read",),
                ("q",),
                None,
            )
            assert made.key.startswith("aq_live_")
            assert made.key not in repr(made)
            shown = await go(client.keys.get(made.id))
            assert (shown.id, shown.key) == (made.id, None)
            assert [key.id for key in await go(client.keys.list())] == [made.id]
            kind = type(client)
            other = kind(server.url, made.key)
            assert await go(other.tasks.list()) == []
            with pytest.raises(aq_client.PermissionDenied, match="write"):
                await go(other.tasks.create(queue="q", **FAR))
            assert await go(client.keys.revoke(made.id)) is None
            with pytest.raises(aq_client.AuthenticationError):
                await go(other.tasks.list())
            await go(other.close() if hasattr(other, "close") else other.aclose())

        await face(scenario, server.url, KEY)


async def test_the_service_itself(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            assert (await go(client.health())).status == "ok"
            ready = await go(client.ready())
            assert (ready.status, ready.problems) == ("ready", ())
            made = await go(client.tasks.create(queue="q", webhook_url=server.url + RECEIVER))
            await go(client.tasks.wait(made.id, 10))
            stats = await go(client.stats(queue="q", window=3600))
            assert (stats.window, stats.step, stats.queue) == (3600, 60, "q")
            assert sum(point.created for point in stats.series) == 1

        await face(scenario, server.url, KEY)


async def test_errors_say_what_is_wrong_and_how_the_log_knows_it(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            with pytest.raises(aq_client.ValidationFailed) as caught:
                await go(client.tasks.create(queue="", webhook_url="ftp://x", prioritty=3))
            error = caught.value
            assert {wrong.field for wrong in error.errors} == {"queue", "webhook_url", "prioritty"}
            assert (error.status, error.type) == (422, "urn:problem-type:asyncqueue:invalid-fields")
            assert error.request_id is not None
            assert f"(HTTP 422, request {error.request_id})" in str(error)
            with pytest.raises(aq_client.NotFound, match="there is no task task_x"):
                await go(client.tasks.get("task_x"))
            with pytest.raises(aq_client.BadRequest):
                await go(client.tasks.create(queue="q", payload=b'{"a":1,"a":2}', **FAR))

        await face(scenario, server.url, KEY)

        async def without_a_key(client: Any) -> None:
            with pytest.raises(aq_client.AuthenticationError, match="send an API key"):
                await go(client.tasks.list())

        await face(without_a_key, server.url)


async def test_names_stay_one_segment_of_the_path(face: Any) -> None:
    async with service() as server:

        async def scenario(client: Any) -> None:
            assert (await go(client.queues.create(".."))).name == ".."
            assert (await go(client.queues.get(".."))).name == ".."
            assert await go(client.queues.delete("..")) is None
            await go(client.queues.create("q"))
            for name in ("../queues/q", "q?x=1", "q#", "q/", "é"):
                with pytest.raises(aq_client.NotFound):
                    await go(client.queues.get(name))
            with pytest.raises(ValueError, match="must not be empty"):
                await go(client.tasks.delete(""))

        await face(scenario, server.url, KEY)
