-- Words of narratives and of all text, for `_text` and `_content`. Written behind the changes by a follower: a lab result
-- has a dozen words, and writing them at once would cost each create a tenth.
CREATE TABLE word (
  id {{serial}},
  text {{text}} NOT NULL UNIQUE
) {{heap}};

CREATE TABLE word_row (
  word {{int}} NOT NULL,
  type_id {{small}} NOT NULL,
  rid {{int}} NOT NULL,
  -- 1 if it stands in the narrative.
  narrative {{small}} NOT NULL,
  PRIMARY KEY (word, type_id, rid)
) {{clustered}};

-- The words a row has in `word_row`: numbers of four bytes each, twice the word and one if it is in the narrative.
CREATE TABLE word_list (
  rid {{int}} NOT NULL PRIMARY KEY,
  list {{bytes}} NOT NULL
) {{clustered}};

-- How far the follower is in the changes.
CREATE TABLE word_follower (
  id {{small}} NOT NULL PRIMARY KEY,
  seq {{int}} NOT NULL
) {{clustered}};
INSERT INTO word_follower (id, seq) VALUES (1, 0);
