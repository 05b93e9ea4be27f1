-- What is known of SAEs: entries, values of metrics, data sets, features, explanations; and stored vectors.

CREATE TYPE "sae_positions" AS ENUM ('all', 'cls', 'patches');

CREATE TYPE "sae_source_kind" AS ENUM ('hub', 'folder', 'table');

CREATE TYPE "metric_source" AS ENUM ('published', 'measured');

CREATE TABLE "base_models" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "repo" TEXT,
    "aliases" TEXT[],
    "license" TEXT,

    CONSTRAINT "base_models_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "saes" (
    "id" TEXT NOT NULL,
    "model_id" TEXT NOT NULL,
    "release" TEXT NOT NULL,
    "suite" TEXT NOT NULL,
    "architecture" TEXT NOT NULL,
    "hook_point_in" TEXT NOT NULL,
    "hook_point_out" TEXT NOT NULL,
    "layer" INTEGER,
    "positions" "sae_positions",
    "trained_on" TEXT,
    "width" INTEGER,
    "d_in" INTEGER,
    "d_out" INTEGER,
    "k" DOUBLE PRECISION,
    "l1_coefficient" DOUBLE PRECISION,
    "source_kind" "sae_source_kind" NOT NULL,
    "source" TEXT NOT NULL,
    "revision" TEXT,
    "requested_revision" TEXT,
    "endpoint" TEXT,
    "file" TEXT,
    "license" TEXT,
    "note" TEXT,
    "is_published" BOOLEAN NOT NULL,
    "folder" TEXT,
    "weights_sha256" TEXT,
    "weight_bytes" BIGINT,
    "description" JSONB,
    "words" TEXT NOT NULL,
    "explained_variance" DOUBLE PRECISION,
    "l0" DOUBLE PRECISION,
    "ce_recovered" DOUBLE PRECISION,
    "alive_features" DOUBLE PRECISION,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "saes_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "saes_download_check" CHECK (num_nulls("folder", "weights_sha256", "weight_bytes", "description") IN (0, 4))
);

CREATE TABLE "sae_files" (
    "sae_id" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "bytes" BIGINT NOT NULL,
    "sha256" TEXT NOT NULL,

    CONSTRAINT "sae_files_pkey" PRIMARY KEY ("sae_id","path")
);

CREATE TABLE "metric_values" (
    "sae_id" TEXT NOT NULL,
    "metric" TEXT NOT NULL,
    "circumstances" TEXT NOT NULL,
    "version" INTEGER NOT NULL,
    "source" "metric_source" NOT NULL,
    "value" DOUBLE PRECISION,
    "low" DOUBLE PRECISION,
    "high" DOUBLE PRECISION,
    "flags" TEXT[],
    "dataset_id" TEXT,
    "dataset_hash" TEXT,
    "n" INTEGER,
    "seed" INTEGER,
    "dtype" TEXT,
    "backend" TEXT,
    "code_version" TEXT,
    "measured_at" TIMESTAMPTZ(3),

    CONSTRAINT "metric_values_pkey" PRIMARY KEY ("sae_id","metric","circumstances")
);

CREATE TABLE "datasets" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "hash" TEXT,
    "n_items" INTEGER NOT NULL,
    "class_names" TEXT[],
    "description" TEXT,
    "license" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "datasets_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "dataset_items" (
    "dataset_id" TEXT NOT NULL,
    "index" INTEGER NOT NULL,
    "name" TEXT NOT NULL,
    "image_id" TEXT,
    "label" INTEGER,

    CONSTRAINT "dataset_items_pkey" PRIMARY KEY ("dataset_id","index")
);

CREATE TABLE "explanations" (
    "id" TEXT NOT NULL,
    "sae_id" TEXT NOT NULL,
    "index" INTEGER NOT NULL,
    "text" TEXT NOT NULL,
    "author" TEXT NOT NULL,
    "method" TEXT NOT NULL,
    "score" DOUBLE PRECISION,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "explanations_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "vectors" (
    "id" TEXT NOT NULL,
    "model_id" TEXT NOT NULL,
    "hook_point" TEXT NOT NULL,
    "values" REAL[],
    "description" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "vectors_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "feature_sets" (
    "id" SERIAL NOT NULL,
    "sae_id" TEXT NOT NULL,
    "dataset_id" TEXT NOT NULL,
    "dataset_hash" TEXT NOT NULL,
    "width" INTEGER NOT NULL,
    "statistic_names" TEXT[],
    "about" JSONB NOT NULL,
    "seed" INTEGER NOT NULL,
    "dtype" TEXT NOT NULL,
    "backend" TEXT NOT NULL,
    "code_version" TEXT NOT NULL,
    "measured_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "feature_sets_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "feature_statistics" (
    "set_id" INTEGER NOT NULL,
    "name" TEXT NOT NULL,
    "values" BYTEA NOT NULL,

    CONSTRAINT "feature_statistics_pkey" PRIMARY KEY ("set_id","name")
);

CREATE TABLE "features" (
    "set_id" INTEGER NOT NULL,
    "index" INTEGER NOT NULL,
    "data" BYTEA NOT NULL,

    CONSTRAINT "features_pkey" PRIMARY KEY ("set_id","index")
);

CREATE TABLE "seeds" (
    "name" TEXT NOT NULL,
    "hash" TEXT NOT NULL,

    CONSTRAINT "seeds_pkey" PRIMARY KEY ("name")
);

CREATE INDEX "saes_model_id_id_idx" ON "saes"("model_id", "id");

CREATE UNIQUE INDEX "datasets_hash_key" ON "datasets"("hash");

CREATE INDEX "explanations_sae_id_index_idx" ON "explanations"("sae_id", "index");

CREATE INDEX "vectors_model_id_id_idx" ON "vectors"("model_id", "id");

CREATE UNIQUE INDEX "feature_sets_sae_id_dataset_id_key" ON "feature_sets"("sae_id", "dataset_id");

ALTER TABLE "saes" ADD CONSTRAINT "saes_model_id_fkey" FOREIGN KEY ("model_id") REFERENCES "base_models"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

ALTER TABLE "sae_files" ADD CONSTRAINT "sae_files_sae_id_fkey" FOREIGN KEY ("sae_id") REFERENCES "saes"("id") ON DELETE CASCADE ON UPDATE CASCADE;

ALTER TABLE "metric_values" ADD CONSTRAINT "metric_values_sae_id_fkey" FOREIGN KEY ("sae_id") REFERENCES "saes"("id") ON DELETE CASCADE ON UPDATE CASCADE;

ALTER TABLE "dataset_items" ADD CONSTRAINT "dataset_items_dataset_id_fkey" FOREIGN KEY ("dataset_id") REFERENCES "datasets"("id") ON DELETE CASCADE ON UPDATE CASCADE;

ALTER TABLE "explanations" ADD CONSTRAINT "explanations_sae_id_fkey" FOREIGN KEY ("sae_id") REFERENCES "saes"("id") ON DELETE CASCADE ON UPDATE CASCADE;

ALTER TABLE "vectors" ADD CONSTRAINT "vectors_model_id_fkey" FOREIGN KEY ("model_id") REFERENCES "base_models"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

ALTER TABLE "feature_sets" ADD CONSTRAINT "feature_sets_sae_id_fkey" FOREIGN KEY ("sae_id") REFERENCES "saes"("id") ON DELETE CASCADE ON UPDATE CASCADE;

ALTER TABLE "feature_statistics" ADD CONSTRAINT "feature_statistics_set_id_fkey" FOREIGN KEY ("set_id") REFERENCES "feature_sets"("id") ON DELETE CASCADE ON UPDATE CASCADE;

CREATE INDEX "explanations_text_idx" ON "explanations" USING gin (to_tsvector('english', "text"));

-- Compressed floats save little and cost a page its 10 ms; a feature stays in its row up to 8 kB.
ALTER TABLE "features" ALTER COLUMN "data" SET STORAGE EXTERNAL;
ALTER TABLE "features" SET (toast_tuple_target = 8160);
ALTER TABLE "feature_statistics" ALTER COLUMN "values" SET STORAGE EXTERNAL;

-- In the place of a foreign key, which would be checked for each of millions of rows.
CREATE FUNCTION "remove_features_of_set"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM "features" WHERE "set_id" = OLD."id";
    RETURN OLD;
END
$$;

CREATE TRIGGER "feature_sets_removed" AFTER DELETE ON "feature_sets" FOR EACH ROW EXECUTE FUNCTION "remove_features_of_set"();
