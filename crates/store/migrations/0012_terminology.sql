-- Loaded code systems and concept maps: published terminologies too large to be kept as one resource.
-- A row here is a version of one of them; its content hangs on `id` and is written before `state` says it is in use.
CREATE TABLE terminology (
  id {{serial}},
  -- 0 code system, 1 concept map
  kind {{small}} NOT NULL,
  url {{text}} NOT NULL,
  -- "" if the publisher gave none.
  version {{text}} NOT NULL,
  -- 0 being loaded, 1 in use, 2 being removed
  state {{small}} NOT NULL,
  -- 1 for the version that is meant when none is named.
  is_default {{small}} NOT NULL,
  entries {{int}} NOT NULL,
  at_us {{int}} NOT NULL,
  -- JSON: what the system says of itself, without concepts.
  header {{text}} NOT NULL
) {{heap}};
CREATE UNIQUE INDEX terminology_in_use ON terminology (kind, url, version) WHERE state = 1;

-- Concepts are numbered in preorder of their hierarchy, so that the descendants of one are a few ranges of numbers.
CREATE TABLE terminology_concept (
  -- terminology.id * 2^32 + number
  key {{rowid}},
  terminology {{int}} NOT NULL,
  code {{text}} NOT NULL,
  display {{text}} NOT NULL,
  -- 1 inactive, 2 abstract
  flags {{small}} NOT NULL,
  -- Numbers of the parents, and of all descendants; see store/src/terminology/ranges.rs.
  parents {{bytes}} NOT NULL,
  descendants {{bytes}} NOT NULL,
  -- Definition, designations, properties; see store/src/terminology/concept.rs.
  detail {{bytes}} NOT NULL
) {{heap}};
CREATE UNIQUE INDEX terminology_concept_code ON terminology_concept (terminology, code);

-- Which concepts have a word, a property or a place in a reference set: a key and the numbers.
CREATE TABLE terminology_posting (
  terminology {{int}} NOT NULL,
  key {{text}} NOT NULL,
  numbers {{bytes}} NOT NULL,
  PRIMARY KEY (terminology, key)
) {{clustered}};

CREATE TABLE terminology_mapping (
  terminology {{int}} NOT NULL,
  source_system {{text}} NOT NULL,
  source {{text}} NOT NULL,
  -- Order of the publisher: the first is to be tried first.
  place {{int}} NOT NULL,
  target_system {{text}} NOT NULL,
  target {{text}} NOT NULL,
  target_display {{text}} NOT NULL,
  equivalence {{text}} NOT NULL,
  comment {{text}} NOT NULL,
  PRIMARY KEY (terminology, source, place)
) {{clustered}};
CREATE INDEX terminology_mapping_target ON terminology_mapping (terminology, target);
