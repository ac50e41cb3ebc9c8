-- A few bits for each token of the referring row (`signature` in index.rs): the walk through a patient's record passes
-- over rows without a wanted code without looking each up in `token`. Rows from before have all bits, so they are looked up.
ALTER TABLE reference ADD COLUMN tokens {{int}} NOT NULL DEFAULT -1;
