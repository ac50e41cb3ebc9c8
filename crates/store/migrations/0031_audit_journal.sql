-- How far the journal of read audits has been taken into `audit` (SQLite; see src/engine/journal.rs). At most one row.
CREATE TABLE audit_journal (
  id {{rowid}},
  journal {{bytes}} NOT NULL,
  frame {{int}} NOT NULL
) {{heap}};
