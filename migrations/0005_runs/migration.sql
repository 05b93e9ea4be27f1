-- Runs that are kept: what was asked, in full, and of which weights. What they answer is computed again.

CREATE TABLE "runs" (
    "id" TEXT NOT NULL,
    "kind" TEXT NOT NULL,
    "model_id" TEXT NOT NULL,
    "input" JSONB NOT NULL,
    "weights" JSONB NOT NULL,
    "code_version" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "runs_pkey" PRIMARY KEY ("id")
);
