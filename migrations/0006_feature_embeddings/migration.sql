-- What features' pictures look like to their model, in a blob, for search by text; and blobs that nothing names any more, until they are removed.

ALTER TABLE "feature_sets" ADD COLUMN "embeddings_sha256" TEXT;
ALTER TABLE "feature_sets" ADD COLUMN "embeddings_place" TEXT;
ALTER TABLE "feature_sets" ADD CONSTRAINT "feature_sets_embeddings_check" CHECK (num_nulls("embeddings_sha256", "embeddings_place") IN (0, 2));

CREATE TABLE "left_blobs" (
    "sha256" TEXT NOT NULL,
    "place" TEXT NOT NULL,
    "left_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "left_blobs_pkey" PRIMARY KEY ("sha256","place")
);

-- However a set goes, by itself or with its SAE: in the transaction in which it does.
CREATE FUNCTION "leave_embeddings_of_set"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO "left_blobs" ("sha256", "place") VALUES (OLD."embeddings_sha256", OLD."embeddings_place")
    ON CONFLICT ("sha256", "place") DO UPDATE SET "left_at" = CURRENT_TIMESTAMP;
    RETURN NULL;
END
$$;

CREATE TRIGGER "feature_sets_embeddings_removed" AFTER DELETE ON "feature_sets" FOR EACH ROW
    WHEN (OLD."embeddings_sha256" IS NOT NULL) EXECUTE FUNCTION "leave_embeddings_of_set"();

CREATE TRIGGER "feature_sets_embeddings_changed" AFTER UPDATE OF "embeddings_sha256", "embeddings_place" ON "feature_sets" FOR EACH ROW
    WHEN (OLD."embeddings_sha256" IS NOT NULL AND OLD."embeddings_sha256" IS DISTINCT FROM NEW."embeddings_sha256")
    EXECUTE FUNCTION "leave_embeddings_of_set"();
