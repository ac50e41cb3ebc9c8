-- Closure tables (ConceptMap/$closure): which concepts a client has named so far. How they stand to each other is what the
-- code systems say, so only the concepts are kept.
CREATE TABLE closure (
  id {{serial}},
  -- Whose it is: `client:` and the client's id, or `user:` and the account's number.
  owner {{text}} NOT NULL,
  name {{text}} NOT NULL,
  -- Rises with each request that adds concepts.
  version {{int}} NOT NULL
) {{heap}};
CREATE UNIQUE INDEX closure_name ON closure (owner, name);

CREATE TABLE closure_concept (
  closure {{int}} NOT NULL,
  system {{text}} NOT NULL,
  code {{text}} NOT NULL,
  -- Version of the table that it came with.
  version {{int}} NOT NULL,
  PRIMARY KEY (closure, system, code)
) {{clustered}};
