-- What is known of a data set's pictures, kept with them, so that it can be opened as it was registered.

ALTER TABLE "datasets" ADD COLUMN "n_classes" INTEGER;
ALTER TABLE "datasets" ADD COLUMN "report" JSONB;

ALTER TABLE "dataset_items" ADD COLUMN "variants" TEXT[];
ALTER TABLE "dataset_items" ADD COLUMN "captions" JSONB;
ALTER TABLE "dataset_items" ADD COLUMN "facets" JSONB;
