-- A server's own search parameters, one row per type of a SearchParameter resource. `state`: 0 its values are being
-- indexed, 1 ready, 2 gone, its values are being removed. `param` is the number in the index; it is free again once the
-- row is gone. The walk through the type is at (after_us, after_rid): lastUpdated and row of the last resource done.
CREATE TABLE search_parameter (
  param {{small}} PRIMARY KEY,
  resource {{text}} NOT NULL,
  type_id {{small}} NOT NULL,
  code {{text}} NOT NULL,
  state {{small}} NOT NULL,
  definition {{text}} NOT NULL,
  start_us {{int}} NOT NULL,
  after_us {{int}} NOT NULL,
  after_rid {{int}} NOT NULL,
  done {{int}} NOT NULL,
  total {{int}} NOT NULL
) {{clustered}};
CREATE UNIQUE INDEX search_parameter_code ON search_parameter (type_id, code) WHERE state <> 2;
