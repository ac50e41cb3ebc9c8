-- One table per kind of search value, clustered in the order of the search. Whether a row has a value is a point
-- lookup: `rid` stands right behind the value, or there is an index by row, which only ever grows at its end.
-- A row's tokens with the same code lie side by side, whatever their parameters (`code` and `combo-code`): a page
-- less to dirty.
CREATE TABLE token (
  type_id {{small}} NOT NULL,
  code {{text}} NOT NULL,
  rid {{int}} NOT NULL,
  param {{small}} NOT NULL,
  -- A term; 0 for none.
  system {{small}} NOT NULL,
  PRIMARY KEY (type_id, code, rid, param, system)
) {{clustered}};

-- A resource's values of one parameter are sorted; `shared` is how many characters a value shares with the one
-- before it (-1 for the first). A prefix longer than that meets this value first, so no row is found twice.
CREATE TABLE string (
  param {{small}} NOT NULL,
  folded {{text}} NOT NULL,
  rid {{int}} NOT NULL,
  -- As written, where it differs from the folded form; else "".
  exact {{text}} NOT NULL,
  shared {{small}} NOT NULL,
  PRIMARY KEY (param, folded, rid, exact)
) {{clustered}};
CREATE INDEX string_row ON string (rid, param);

-- [low, high). Ranges longer than a day, and all ranges of a resource that has several for the parameter, are kept
-- under param + 32768: the others are at most a day long and alone, so that a search is a narrow range of `low`
-- bounded by all its conditions.
CREATE TABLE date (
  param {{small}} NOT NULL,
  low_us {{int}} NOT NULL,
  high_us {{int}} NOT NULL,
  rid {{int}} NOT NULL,
  PRIMARY KEY (param, low_us, high_us, rid)
) {{clustered}};
CREATE INDEX date_row ON date (rid, param);

-- By row: a measured value is hardly ever searched for without what was measured, and an order by value would
-- dirty a random page for each. Values open to one side (`<5`) are kept under param + 32768.
CREATE TABLE quantity (
  param {{small}} NOT NULL,
  value {{real}} NOT NULL,
  rid {{int}} NOT NULL,
  -- Terms; 0 for none.
  system {{small}} NOT NULL,
  code {{small}} NOT NULL,
  low {{real}} NOT NULL,
  high {{real}} NOT NULL,
  PRIMARY KEY (param, rid, value, system, code, low, high)
) {{clustered}};

-- All references to one target lie together, by type of the referring resource and its date: the walk through a
-- patient's record. `param` 0 is membership in the patient's compartment.
CREATE TABLE reference (
  target {{bytes}} NOT NULL,
  type_id {{small}} NOT NULL,
  date_us {{int}} NOT NULL,
  rid {{int}} NOT NULL,
  param {{small}} NOT NULL,
  PRIMARY KEY (target, type_id, date_us, rid, param)
) {{clustered}};

CREATE TABLE uri (
  param {{small}} NOT NULL,
  value {{text}} NOT NULL,
  rid {{int}} NOT NULL,
  PRIMARY KEY (param, value, rid)
) {{clustered}};

-- `patient` is a key, so that it compares with reference.target.
CREATE TABLE care_link (
  practitioner {{bytes}} NOT NULL,
  patient {{bytes}} NOT NULL,
  source {{bytes}} NOT NULL,
  from_us {{int}} NOT NULL,
  until_us {{int}} NOT NULL,
  PRIMARY KEY (practitioner, patient, source)
) {{clustered}};
CREATE INDEX care_link_source ON care_link (source);
CREATE INDEX care_link_patient ON care_link (patient, practitioner);
