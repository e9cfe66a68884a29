// graphile-worker: a queue in PostgreSQL. `at` is a connection string. Jobs are fetched ahead and completed in batches.
import { makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

export async function open(at) {
  const pgPool = new pg.Pool({ connectionString: at, max: 16 });
  const utils = await makeWorkerUtils({ pgPool });
  await utils.migrate();
  const add = "SELECT graphile_worker.add_jobs(array(SELECT json_populate_recordset(null::graphile_worker.job_spec, $1::json)))";
  const spec = (payload) => ({ identifier: "post", payload });
  return {
    add: (data) => utils.addJob("post", data),
    addBulk: (jobs) => pgPool.query(add, [JSON.stringify(jobs.map(spec))]),
    close: async () => {
      await utils.release();
      await pgPool.end();
    },
  };
}

export async function work(at, concurrency, handle) {
  await run({
    preset: {
      worker: {
        connectionString: at,
        maxPoolSize: 16,
        concurrentJobs: concurrency,
        pollInterval: 500,
        localQueue: { size: 500 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
    noHandleSignals: true,
    taskList: { post: (payload) => handle(payload) },
  });
}
