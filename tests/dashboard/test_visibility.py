"""What a key may not see or do is not to be had from the pages of tasks and schedules either."""

from __future__ import annotations

from aq.task import Environment, NewTask
from tests.api.api_world import URL
from tests.dashboard.world import Browser, open_dashboard

TASK = {"queue": "theirs", "webhook_url": URL}


async def test_tasks_and_schedules_of_other_queues_are_not_there() -> None:
    async with open_dashboard() as api:
        task = await api.engine.submit(NewTask("theirs", URL, {}, delay=3_600))
        schedule = await api.engine.schedules.create(cron="0 9 * * *", task=TASK)
        _, text = await api.engine.keys.create("some", queues=["mine"])
        browser = await Browser(api).sign_in(text)
        await browser.get("/tasks")
        for path in (f"/tasks/{task.id}", f"/schedules/{schedule.id}"):
            for page in (path, f"{path}/delete"):
                assert (await browser.get(page)).status == 404, page
        for path in (f"/tasks/{task.id}", f"/schedules/{schedule.id}"):
            for action in ("retry", "again", "delete", "pause", "resume", "run", "edit"):
                answer = await browser.post(f"{path}/{action}", cron="* * * * *", queue="mine")
                assert answer.status in (404, 405), (path, action)
        assert (await browser.get("/failures/retry?queue=theirs")).status == 404
        assert (await browser.post("/failures/retry", queue="theirs")).status == 404
        for path in ("/tasks", "/tasks?queue=theirs", "/schedules"):
            assert task.id not in (await browser.get(path)).text
            assert schedule.id not in (await browser.get(path)).text
        assert (await api.engine.get(task.id)).task.version == task.version
        assert await api.engine.schedules.get(schedule.id) == schedule


async def test_live_and_test_never_meet() -> None:
    async with open_dashboard() as api:
        task = await api.engine.submit(NewTask("q", URL, {}, delay=3_600))
        _, text = await api.engine.keys.create("sandbox", environment=Environment.TEST)
        browser = await Browser(api).sign_in(text)
        assert (await browser.get(f"/tasks/{task.id}")).status == 404
        assert task.id not in (await browser.get("/tasks")).text
        assert (await browser.post(f"/tasks/{task.id}/delete")).status == 404
        sent = await api.engine.submit(NewTask("q", URL, {}), environment=Environment.TEST)
        again = await browser.post(f"/tasks/{sent.id}/again")
        assert again.status == 303
        made = await api.engine.get(
            again.headers["Location"].rpartition("/")[2], environment=Environment.TEST
        )
        assert made.task.queue == sent.queue


async def test_a_key_that_may_only_read_changes_nothing() -> None:
    async with open_dashboard() as api:
        task = await api.engine.submit(NewTask("q", URL, {}, delay=3_600))
        schedule = await api.engine.schedules.create(cron="0 9 * * *", task=TASK)
        _, text = await api.engine.keys.create("reader", scopes=["read"])
        browser = await Browser(api).sign_in(text)
        page = await browser.get(f"/tasks/{task.id}")
        assert "this needs a key with the scope write" in page.text
        paths = [
            *(f"/tasks/{task.id}/{action}" for action in ("retry", "again", "delete")),
            *(
                f"/schedules/{schedule.id}/{action}"
                for action in ("pause", "resume", "run", "delete", "edit")
            ),
            *("/schedules/new", "/failures/retry"),
        ]
        for path in paths:
            assert (await browser.post(path, queue="q")).status == 403, path
        assert (await api.engine.list()).total == 1
        assert await api.engine.schedules.get(schedule.id) == schedule
