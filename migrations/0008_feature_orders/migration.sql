-- The order of a set's features by a statistic, of which a page is read alone. Null in sets that were loaded before.

ALTER TABLE "feature_statistics" ADD COLUMN "ascending" BYTEA;
ALTER TABLE "feature_statistics" ADD COLUMN "defined" INTEGER;
ALTER TABLE "feature_statistics" ADD CONSTRAINT "feature_statistics_order_check" CHECK (num_nulls("ascending", "defined") IN (0, 2));

-- Not compressed, so that a part is read without the rest.
ALTER TABLE "feature_statistics" ALTER COLUMN "values" SET STORAGE EXTERNAL;
ALTER TABLE "feature_statistics" ALTER COLUMN "ascending" SET STORAGE EXTERNAL;
