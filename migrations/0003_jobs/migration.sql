-- Long work: jobs, the shards they are run as, and their log.

CREATE TYPE "job_state" AS ENUM ('queued', 'running', 'cancelling', 'cancelled', 'failed', 'succeeded');

CREATE TYPE "job_stage" AS ENUM ('plan', 'run', 'finish');

CREATE TYPE "shard_state" AS ENUM ('waiting', 'running', 'done');

CREATE TYPE "log_level" AS ENUM ('info', 'warning');

CREATE TABLE "jobs" (
    "id" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "input" JSONB NOT NULL,
    "lane" TEXT NOT NULL,
    "place" TEXT NOT NULL,
    "uses" TEXT[],
    "state" "job_state" NOT NULL DEFAULT 'queued',
    "progress" DOUBLE PRECISION NOT NULL DEFAULT 0,
    "message" TEXT NOT NULL DEFAULT '',
    "result" JSONB,
    "error" JSONB,
    "n_shards" INTEGER,
    "n_done" INTEGER NOT NULL DEFAULT 0,
    "n_log_lines" INTEGER NOT NULL DEFAULT 0,
    "revision" INTEGER NOT NULL DEFAULT 0,
    "created_by" TEXT,
    "idempotency_key" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "started_at" TIMESTAMPTZ(3),
    "finished_at" TIMESTAMPTZ(3),

    CONSTRAINT "jobs_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "job_shards" (
    "job_id" TEXT NOT NULL,
    "stage" "job_stage" NOT NULL,
    "index" INTEGER NOT NULL,
    "input" JSONB,
    "state" "shard_state" NOT NULL DEFAULT 'waiting',
    "progress" DOUBLE PRECISION NOT NULL DEFAULT 0,
    "lease" INTEGER NOT NULL DEFAULT 0,
    "worker" TEXT,
    "leased_until" TIMESTAMPTZ(3),
    "not_before" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "crashes" INTEGER NOT NULL DEFAULT 0,
    "furthest" DOUBLE PRECISION NOT NULL DEFAULT 0,
    "result" JSONB,
    "result_blob" TEXT,

    CONSTRAINT "job_shards_pkey" PRIMARY KEY ("job_id","stage","index")
);

CREATE TABLE "job_log_lines" (
    "job_id" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "level" "log_level" NOT NULL,
    "text" TEXT NOT NULL,

    CONSTRAINT "job_log_lines_pkey" PRIMARY KEY ("job_id","number")
);

CREATE INDEX "jobs_created_at_id_idx" ON "jobs"("created_at" DESC, "id" DESC);

CREATE INDEX "jobs_state_created_at_id_idx" ON "jobs"("state", "created_at", "id");

CREATE UNIQUE INDEX "jobs_idempotency_key_key" ON "jobs"("idempotency_key");

CREATE INDEX "job_shards_job_id_state_idx" ON "job_shards"("job_id", "state");

ALTER TABLE "job_shards" ADD CONSTRAINT "job_shards_job_id_fkey" FOREIGN KEY ("job_id") REFERENCES "jobs"("id") ON DELETE CASCADE ON UPDATE CASCADE;

ALTER TABLE "job_log_lines" ADD CONSTRAINT "job_log_lines_job_id_fkey" FOREIGN KEY ("job_id") REFERENCES "jobs"("id") ON DELETE CASCADE ON UPDATE CASCADE;
