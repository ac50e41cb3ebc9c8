-- The audit trail as a Merkle tree after RFC 9162; see docs/adr/013-audit-tree.md.
-- `session`: first bytes of the hash of the session's token. `client`: term of the OAuth client that acted for the agent.
ALTER TABLE audit ADD COLUMN session {{bytes}};
ALTER TABLE audit ADD COLUMN client {{small}};

-- One row. `frontier` holds the roots of the complete subtrees, largest first, 32 bytes each; entries below `pruned` and
-- rows up to `pruned_seq` have been removed after their time.
CREATE TABLE audit_tree (
  id {{rowid}},
  name {{bytes}} NOT NULL,
  size {{int}} NOT NULL,
  last_seq {{int}} NOT NULL,
  frontier {{bytes}} NOT NULL,
  pruned {{int}} NOT NULL,
  pruned_seq {{int}} NOT NULL
) {{heap}};

-- A sealed segment: entries `first` to `first + count`, and the signed head of the tree that ends with them. `leaves` is
-- for each entry the row's number (8 bytes, big endian) and the leaf's hash (32 bytes).
CREATE TABLE audit_segment (
  first {{rowid}},
  count {{small}} NOT NULL,
  last_seq {{int}} NOT NULL,
  leaves {{bytes}} NOT NULL,
  sealed_us {{int}} NOT NULL,
  root {{bytes}} NOT NULL,
  key {{bytes}} NOT NULL,
  signature {{bytes}} NOT NULL
) {{heap}};

-- Roots of complete subtrees of 256, 256², … entries, so that a proof needs few leaves.
CREATE TABLE audit_node (
  level {{small}} NOT NULL,
  number {{int}} NOT NULL,
  hash {{bytes}} NOT NULL,
  PRIMARY KEY (level, number)
) {{clustered}};

-- Keys that sign heads, oldest first. `since` is the size of the tree when the key came; `endorsement` is the signature of
-- the key before it, NULL for the first key and where that was lost.
CREATE TABLE audit_key (
  number {{serial}},
  id {{bytes}} NOT NULL UNIQUE,
  public {{bytes}} NOT NULL,
  since {{int}} NOT NULL,
  made_us {{int}} NOT NULL,
  endorsement {{bytes}}
) {{heap}};

-- Heads that were taken to another place, and tries that failed.
CREATE TABLE audit_anchor (
  id {{serial}},
  place {{text}} NOT NULL,
  size {{int}} NOT NULL,
  at_us {{int}} NOT NULL,
  error {{text}}
) {{heap}};
CREATE INDEX audit_anchor_place ON audit_anchor (place, id);

-- Rows of the trail may go when they were pruned from the tree's segments and are older than six years: 2,192 days.
-- [sqlite]
DROP TRIGGER audit_no_delete;
DROP TRIGGER audit_patient_no_delete;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
WHEN OLD.at_us > (unixepoch() - 2192 * 86400) * 1000000
  OR OLD.seq > coalesce((SELECT pruned_seq FROM audit_tree), -1)
BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_patient_no_delete BEFORE DELETE ON audit_patient
WHEN EXISTS (SELECT 1 FROM audit WHERE seq = OLD.seq)
  OR OLD.seq > coalesce((SELECT pruned_seq FROM audit_tree), -1)
BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_segment_no_update BEFORE UPDATE ON audit_segment BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_segment_no_delete BEFORE DELETE ON audit_segment BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_node_no_update BEFORE UPDATE ON audit_node BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_node_no_delete BEFORE DELETE ON audit_node BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_key_no_update BEFORE UPDATE ON audit_key BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_key_no_delete BEFORE DELETE ON audit_key BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_anchor_no_update BEFORE UPDATE ON audit_anchor BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_anchor_no_delete BEFORE DELETE ON audit_anchor BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_tree_grows BEFORE UPDATE ON audit_tree
WHEN NEW.name <> OLD.name OR NEW.size < OLD.size OR NEW.last_seq < OLD.last_seq OR NEW.pruned < OLD.pruned
  OR NEW.pruned > NEW.size
BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_tree_no_delete BEFORE DELETE ON audit_tree BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
-- [postgres]
DROP TRIGGER audit_append_only ON audit;
DROP TRIGGER audit_patient_append_only ON audit_patient;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR TRUNCATE ON audit EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_patient_append_only BEFORE UPDATE OR TRUNCATE ON audit_patient EXECUTE FUNCTION append_only();
CREATE FUNCTION audit_kept() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.at_us > (extract(epoch FROM clock_timestamp()) - 2192 * 86400) * 1000000
    OR OLD.seq > coalesce((SELECT pruned_seq FROM audit_tree), -1) THEN
    RAISE EXCEPTION 'audit is append-only';
  END IF;
  RETURN OLD;
END $$;
CREATE FUNCTION audit_patient_kept() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM audit WHERE seq = OLD.seq)
    OR OLD.seq > coalesce((SELECT pruned_seq FROM audit_tree), -1) THEN
    RAISE EXCEPTION 'audit is append-only';
  END IF;
  RETURN OLD;
END $$;
CREATE FUNCTION audit_tree_grows() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.name <> OLD.name OR NEW.size < OLD.size OR NEW.last_seq < OLD.last_seq OR NEW.pruned < OLD.pruned
    OR NEW.pruned > NEW.size THEN
    RAISE EXCEPTION 'audit is append-only';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_kept();
CREATE TRIGGER audit_patient_kept BEFORE DELETE ON audit_patient FOR EACH ROW EXECUTE FUNCTION audit_patient_kept();
CREATE TRIGGER audit_segment_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_segment EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_node_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_node EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_key_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_key EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_anchor_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_anchor EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_tree_append_only BEFORE DELETE OR TRUNCATE ON audit_tree EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_tree_grows BEFORE UPDATE ON audit_tree FOR EACH ROW EXECUTE FUNCTION audit_tree_grows();

-- Numbers of audit rows, so that what is sealed has no row appear behind it: as next_change() and change_horizon(), see
-- dialect.rs, but in blocks of 32 that a transaction does not share. 21335 marks these locks.
SELECT setval('audit_block', (SELECT last_value FROM audit_block) + 32);
CREATE FUNCTION next_audit_block() RETURNS BIGINT LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared((21335::BIGINT << 47) | (SELECT last_value FROM audit_block));
  RETURN nextval('audit_block');
END $$;
CREATE FUNCTION audit_horizon() RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
  highest BIGINT;
  lowest BIGINT;
BEGIN
  SELECT last_value INTO highest FROM audit_block;
  SELECT min((classid::BIGINT << 32 | objid::BIGINT) & ((1::BIGINT << 47) - 1)) INTO lowest FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND (classid::BIGINT << 32 | objid::BIGINT) >> 47 = 21335
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
  RETURN least(highest, coalesce(lowest, highest)) + 31;
END $$;
-- [all]
