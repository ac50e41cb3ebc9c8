-- The current version of every resource. `id` as in ids.rs; `params` names the search parameters that have a value,
-- one character each, for :missing.
CREATE TABLE resource (
  rid {{rowid}},
  type_id {{small}} NOT NULL,
  id {{bytes}} NOT NULL,
  version {{small}} NOT NULL,
  seq {{int}} NOT NULL,
  last_updated_us {{int}} NOT NULL,
  deleted {{small}} NOT NULL,
  -- Key of the first patient whose compartment holds it; the others are in `compartment`, as many as `more_patients`.
  patient {{bytes}},
  more_patients {{small}} NOT NULL,
  -- Start of the type's primary date; a value before all dates if it has none.
  sort_date_us {{int}} NOT NULL,
  -- Start of the type's primary name; NULL for types without one.
  sort_text {{text}},
  params {{text}} NOT NULL,
  content {{bytes}}
) {{heap}};
CREATE UNIQUE INDEX resource_key ON resource (type_id, id);
CREATE INDEX resource_updated ON resource (type_id, last_updated_us, rid) WHERE deleted = 0;
CREATE INDEX resource_date ON resource (type_id, sort_date_us, rid) WHERE deleted = 0;
CREATE INDEX resource_text ON resource (type_id, sort_text, rid) WHERE deleted = 0 AND sort_text IS NOT NULL;
CREATE UNIQUE INDEX resource_seq ON resource (seq);

-- Versions that are no longer current.
CREATE TABLE history (
  rid {{int}} NOT NULL,
  version {{small}} NOT NULL,
  seq {{int}} NOT NULL,
  last_updated_us {{int}} NOT NULL,
  deleted {{small}} NOT NULL,
  content {{bytes}},
  PRIMARY KEY (rid, version)
) {{clustered}};

-- Patients of a resource beyond its first.
CREATE TABLE compartment (
  rid {{int}} NOT NULL,
  patient {{bytes}} NOT NULL,
  PRIMARY KEY (rid, patient)
) {{clustered}};
