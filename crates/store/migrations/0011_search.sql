-- References of a row, by row, but for those to its own patients (resource.patient, compartment), which every clinical
-- row has and which are found without: so a chain is tested by point lookups, and includes need no content.
CREATE TABLE link (
  rid {{int}} NOT NULL,
  param {{small}} NOT NULL,
  target {{bytes}} NOT NULL,
  PRIMARY KEY (rid, param, target)
) {{clustered}};
INSERT INTO link (rid, param, target)
  SELECT f.rid, f.param, f.target FROM reference f JOIN resource r ON r.rid = f.rid
  WHERE f.param <> 0 AND (r.patient IS NULL OR f.target <> r.patient)
    AND NOT EXISTS (SELECT 1 FROM compartment m WHERE m.rid = f.rid AND m.patient = f.target);

-- Texts by which codings were displayed, for :text. The same display comes with hundreds of thousands of resources, so
-- it is kept once and leads to them by their codes.
CREATE TABLE display (
  folded {{text}} NOT NULL,
  code {{text}} NOT NULL,
  -- A term; 0 for none.
  system {{small}} NOT NULL,
  PRIMARY KEY (folded, code, system)
) {{clustered}};

-- Texts of tokens that no coding displays.
CREATE TABLE free_text (
  param {{small}} NOT NULL,
  folded {{text}} NOT NULL,
  rid {{int}} NOT NULL,
  PRIMARY KEY (param, folded, rid)
) {{clustered}};
CREATE INDEX free_text_row ON free_text (rid, param);

-- Composites below the root: a row per component of an element. Components that are no token have the code ''.
CREATE TABLE composite (
  param {{small}} NOT NULL,
  part {{small}} NOT NULL,
  code {{text}} NOT NULL,
  rid {{int}} NOT NULL,
  element {{small}} NOT NULL,
  -- Terms; 0 for none. `unit` is that of a quantity.
  system {{small}} NOT NULL,
  unit {{small}} NOT NULL,
  value {{real}} NOT NULL,
  low {{real}} NOT NULL,
  high {{real}} NOT NULL,
  low_us {{int}} NOT NULL,
  high_us {{int}} NOT NULL,
  -- Strings: folded; URIs as they are.
  folded {{text}} NOT NULL,
  exact {{text}} NOT NULL,
  target {{bytes}} NOT NULL,
  PRIMARY KEY (param, part, code, rid, element, system)
) {{clustered}};
CREATE INDEX composite_row ON composite (rid, param, element, part);

-- Places, for `near`: points on the unit sphere, so that nearness is plain arithmetic.
CREATE TABLE place (
  param {{small}} NOT NULL,
  latitude {{real}} NOT NULL,
  rid {{int}} NOT NULL,
  x {{real}} NOT NULL,
  y {{real}} NOT NULL,
  z {{real}} NOT NULL,
  PRIMARY KEY (param, latitude, rid, x, y, z)
) {{clustered}};
CREATE INDEX place_row ON place (rid, param);
