-- Histories of a type and of the whole system go through versions in commit order, newest first.
DROP INDEX resource_seq;
CREATE UNIQUE INDEX resource_seq ON resource (type_id, seq);
ALTER TABLE history ADD COLUMN type_id {{small}} NOT NULL DEFAULT 0;
UPDATE history SET type_id = (SELECT r.type_id FROM resource r WHERE r.rid = history.rid);
CREATE INDEX history_seq ON history (type_id, seq);
