-- The catalog: models and the files they are made of, pictures, API keys.

CREATE TYPE "source_kind" AS ENUM ('hub', 'folder');

CREATE TYPE "image_format" AS ENUM ('jpeg', 'png', 'webp');

CREATE TABLE "models" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "layout" TEXT NOT NULL,
    "n_layers" INTEGER NOT NULL,
    "d_model" INTEGER NOT NULL,
    "n_heads" INTEGER NOT NULL,
    "patch_height" INTEGER NOT NULL,
    "patch_width" INTEGER NOT NULL,
    "image_height" INTEGER NOT NULL,
    "image_width" INTEGER NOT NULL,
    "d_out" INTEGER NOT NULL,
    "has_text" BOOLEAN NOT NULL,
    "n_parameters" BIGINT NOT NULL,
    "description" JSONB NOT NULL,
    "processing" TEXT[],
    "source_kind" "source_kind" NOT NULL,
    "source" TEXT NOT NULL,
    "revision" TEXT,
    "requested_revision" TEXT,
    "endpoint" TEXT,
    "license" TEXT,
    "weights_sha256" TEXT NOT NULL,
    "weight_bytes" BIGINT NOT NULL,
    "folder" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "models_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "model_files" (
    "model_id" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "bytes" BIGINT NOT NULL,
    "sha256" TEXT NOT NULL,

    CONSTRAINT "model_files_pkey" PRIMARY KEY ("model_id","path")
);

CREATE TABLE "images" (
    "id" TEXT NOT NULL,
    "format" "image_format" NOT NULL,
    "width" INTEGER NOT NULL,
    "height" INTEGER NOT NULL,
    "bytes" INTEGER NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "images_pkey" PRIMARY KEY ("id")
);

CREATE TABLE "api_keys" (
    "id" TEXT NOT NULL,
    "prefix" TEXT NOT NULL,
    "hash" TEXT NOT NULL,
    "label" TEXT NOT NULL,
    "scopes" TEXT[],
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "last_used_at" TIMESTAMPTZ(3),
    "revoked_at" TIMESTAMPTZ(3),

    CONSTRAINT "api_keys_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "models_layout_id_idx" ON "models"("layout", "id");

CREATE INDEX "models_weights_sha256_idx" ON "models"("weights_sha256");

CREATE INDEX "images_created_at_id_idx" ON "images"("created_at" DESC, "id" DESC);

CREATE UNIQUE INDEX "api_keys_prefix_key" ON "api_keys"("prefix");

CREATE UNIQUE INDEX "api_keys_hash_key" ON "api_keys"("hash");

ALTER TABLE "model_files" ADD CONSTRAINT "model_files_model_id_fkey" FOREIGN KEY ("model_id") REFERENCES "models"("id") ON DELETE CASCADE ON UPDATE CASCADE;
