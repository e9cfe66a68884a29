// BullMQ: a queue in Redis. Finished jobs are removed, as its documentation advises for throughput.
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

const connection = (at) => new Redis({ port: Number(at), maxRetriesPerRequest: null });
const options = { removeOnComplete: true, removeOnFail: true };

export async function open(at) {
  const queue = new Queue("bench", { connection: connection(at) });
  await queue.waitUntilReady();
  return {
    add: (data) => queue.add("post", data, options),
    addBulk: (jobs) => queue.addBulk(jobs.map((data) => ({ name: "post", data, opts: options }))),
    close: () => queue.close(),
  };
}

export async function work(at, concurrency, handle) {
  const worker = new Worker("bench", (job) => handle(job.data), { connection: connection(at), concurrency });
  await worker.waitUntilReady();
}
