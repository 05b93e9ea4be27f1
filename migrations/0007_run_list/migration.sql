-- Saved runs are listed, newest first.

CREATE INDEX "runs_created_at_id_idx" ON "runs"("created_at" DESC, "id" DESC);
