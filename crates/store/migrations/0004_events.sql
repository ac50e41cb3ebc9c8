CREATE TABLE outbox (
  seq {{rowid}},
  topic {{small}} NOT NULL,
  subject {{bytes}} NOT NULL,
  patients {{bytes}},
  data {{text}},
  created_us {{int}} NOT NULL
) {{heap}};

CREATE TABLE outbox_cursor (
  subscriber {{text}} PRIMARY KEY,
  position {{int}} NOT NULL,
  token {{int}} NOT NULL,
  worker {{text}} NOT NULL,
  until_us {{int}} NOT NULL
) {{clustered}};

CREATE TABLE inbox (
  id {{serial}},
  source {{text}} NOT NULL,
  key {{text}} NOT NULL,
  body {{bytes}} NOT NULL,
  state {{small}} NOT NULL,
  attempts {{small}} NOT NULL,
  due_us {{int}} NOT NULL,
  token {{int}} NOT NULL,
  last_error {{text}},
  received_us {{int}} NOT NULL,
  UNIQUE (source, key)
) {{heap}};
CREATE INDEX inbox_state ON inbox (state, source, id) WHERE state <> 1;

-- `run_us` is when a ready job is due, when a lease ends, when a done one ended.
CREATE TABLE job (
  id {{serial}},
  queue {{text}} NOT NULL,
  key {{text}} NOT NULL,
  data {{text}} NOT NULL,
  state {{small}} NOT NULL,
  run_us {{int}} NOT NULL,
  attempts {{small}} NOT NULL,
  max_attempts {{small}} NOT NULL,
  backoff_s {{int}} NOT NULL,
  token {{int}} NOT NULL,
  last_error {{text}},
  created_us {{int}} NOT NULL
) {{heap}};
CREATE INDEX job_due ON job (run_us, id) WHERE state IN (0, 1);
CREATE INDEX job_state ON job (state, id);
CREATE INDEX job_key ON job (key) WHERE state = 0;

CREATE TABLE idempotency (
  principal {{text}} NOT NULL,
  key {{text}} NOT NULL,
  request_hash {{bytes}} NOT NULL,
  status {{small}},
  body {{bytes}},
  created_us {{int}} NOT NULL,
  PRIMARY KEY (principal, key)
) {{clustered}};
CREATE INDEX idempotency_created ON idempotency (created_us);

-- Each quantum of five minutes is a row; see claim.rs.
CREATE TABLE claim (
  actor {{bytes}} NOT NULL,
  quantum {{int}} NOT NULL,
  holder {{bytes}} NOT NULL,
  PRIMARY KEY (actor, quantum)
) {{clustered}};
CREATE INDEX claim_holder ON claim (holder);
