-- Texts that occur over and over: code systems, units, topics, actions, agents.
CREATE TABLE term (
  id {{serial}},
  text {{text}} NOT NULL UNIQUE
) {{heap}};

-- [sqlite]
-- Counters are reserved in blocks by the writer thread; numbers below `next` may be in use.
CREATE TABLE counter (
  name TEXT PRIMARY KEY,
  next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- [postgres]
-- Each connection takes a block and gives it out itself.
CREATE SEQUENCE row_block INCREMENT BY 32;
CREATE SEQUENCE audit_block INCREMENT BY 32;
CREATE SEQUENCE change_number;
-- See dialect.rs. 21333 marks our advisory locks; the key's lower 47 bits hold the number.
CREATE FUNCTION next_change() RETURNS BIGINT LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared((21333::BIGINT << 47) | (SELECT last_value FROM change_number));
  RETURN nextval('change_number');
END $$;
CREATE FUNCTION change_horizon() RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
  highest BIGINT;
  lowest BIGINT;
BEGIN
  -- The sequence first: a number drawn later is above it, one drawn earlier has its lock already.
  SELECT CASE WHEN is_called THEN last_value ELSE 0 END INTO highest FROM change_number;
  SELECT min((classid::BIGINT << 32 | objid::BIGINT) & ((1::BIGINT << 47) - 1)) INTO lowest FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND (classid::BIGINT << 32 | objid::BIGINT) >> 47 = 21333
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
  RETURN least(highest, coalesce(lowest, highest));
END $$;
-- [all]

CREATE TABLE setting (
  key {{text}} PRIMARY KEY,
  value {{text}} NOT NULL
) {{clustered}};
