// The peer graphile-worker: runs JOBS queued jobs as fast as it can, configured for throughput as its documentation advises
// (https://worker.graphile.org/docs/performance): fetched in batches, completed in batches.
//
// Usage: DATABASE_URL=… node worker.mjs JOBS event|bare. With `event`, each job also inserts one row into a table with the columns of
// Panda's events. Prints one JSON object.
import { run, runMigrations, makeWorkerUtils, Logger } from "graphile-worker";
import pg from "pg";

const [jobs, mode] = [Number(process.argv[2]), process.argv[3]];
const connectionString = process.env.DATABASE_URL;
const logger = new Logger(() => () => {});
const pgPool = new pg.Pool({ connectionString, max: 16 });
// The worker requires a handler; a broken connection fails the measurement without it.
pgPool.on("error", (error) => console.error(error));
pgPool.on("connect", (client) => client.on("error", (error) => console.error(error)));
const preset = {
  worker: {
    concurrentJobs: 24,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
};

await runMigrations({ pgPool, logger, preset });
const utils = await makeWorkerUtils({ pgPool, logger, preset });
for (let from = 0; from < jobs; from += 5000) {
  const specs = Array.from({ length: Math.min(5000, jobs - from) }, (_, n) => ({ identifier: "step", payload: { n: from + n } }));
  await utils.addJobs(specs);
}
await utils.release();
await pgPool.query("VACUUM ANALYZE");

const INSERT = `INSERT INTO bench_events (owner, seq, id, key, code, message, params)
                VALUES ($1, 1, gen_random_uuid(), $2, 'BUILD_PROGRESS', $3, $4)`;
const step = async ({ n }, helpers) => {
  if (mode === "event") {
    const text = `line ${n}`;
    await helpers.query({ name: "event", text: INSERT, values: [`job_${n}`, String(n), text, { message: text }] });
  }
};

let done = 0;
let finished;
const all = new Promise((resolve) => (finished = resolve));
const started = performance.now();
const runner = await run({ pgPool, logger, preset, noHandleSignals: true, taskList: { step } });
runner.events.on("job:complete", () => {
  if (++done === jobs) finished();
});
await all;
// The last batch is still being written when the last job ends: the table shows when it is durable.
for (;;) {
  const { rows } = await pgPool.query("SELECT count(*)::int AS left FROM graphile_worker._private_jobs");
  if (rows[0].left === 0) break;
}
const seconds = (performance.now() - started) / 1000;
await runner.stop();
console.log(JSON.stringify({ jobs, seconds }));
process.exit(0);
