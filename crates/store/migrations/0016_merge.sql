-- What a merge of two patients moved, so that it can be taken back.
CREATE TABLE merge (
  id {{bytes}} PRIMARY KEY,
  source {{bytes}} NOT NULL,
  target {{bytes}} NOT NULL,
  at_us {{int}} NOT NULL,
  -- NULL while the merge is in force.
  undone_us {{int}},
  -- Versions before and after, as record::operation::merge writes them.
  content {{bytes}} NOT NULL
) {{heap}};
CREATE INDEX merge_source ON merge (source, at_us);
CREATE INDEX merge_target ON merge (target, at_us);

-- Rows outside the record that went along: payments, messages, and quanta of time (with their holder).
CREATE TABLE merge_row (
  merge {{bytes}} NOT NULL,
  kind {{small}} NOT NULL,
  item {{bytes}} NOT NULL,
  quantum {{int}} NOT NULL,
  PRIMARY KEY (merge, kind, item, quantum)
) {{clustered}};
