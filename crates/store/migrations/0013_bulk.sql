-- Exports and imports that run in the background; see bulk/job.rs.
CREATE TABLE bulk_job (
  id {{bytes}} PRIMARY KEY,
  kind {{small}} NOT NULL,
  -- Who asked, e.g. client/abc, and with which scopes (JSON array).
  owner {{text}} NOT NULL,
  scopes {{text}} NOT NULL,
  request {{text}} NOT NULL,
  -- 0 active, 1 done, 2 failed, 3 cancelled
  state {{small}} NOT NULL,
  -- How far it is: the runner's own JSON.
  progress {{text}} NOT NULL,
  error {{text}},
  transaction_us {{int}} NOT NULL,
  created_us {{int}} NOT NULL,
  finished_us {{int}},
  -- When it and its files go.
  expires_us {{int}} NOT NULL,
  token {{int}} NOT NULL,
  lease_us {{int}} NOT NULL
) {{heap}};
CREATE INDEX bulk_job_due ON bulk_job (lease_us) WHERE state = 0;
CREATE INDEX bulk_job_expiry ON bulk_job (expires_us);
CREATE INDEX bulk_job_owner ON bulk_job (owner, created_us);

-- Finished files of a job. `name` is the last part of the address, the file on disk is named by job and number.
CREATE TABLE bulk_file (
  job {{bytes}} NOT NULL,
  number {{int}} NOT NULL,
  -- 0 output, 1 deleted, 2 error, 3 input
  role {{small}} NOT NULL,
  kind {{text}} NOT NULL,
  name {{text}} NOT NULL,
  count {{int}} NOT NULL,
  bytes {{int}} NOT NULL,
  PRIMARY KEY (job, number)
) {{clustered}};

-- Named views and where their tables stand; see bulk/view.rs.
CREATE TABLE view (
  name {{text}} PRIMARY KEY,
  definition {{text}} NOT NULL,
  -- JSON array of csv, ndjson, parquet
  formats {{text}} NOT NULL,
  every_s {{int}} NOT NULL,
  owner {{text}} NOT NULL,
  -- Changes up to here are in the files.
  seq {{int}} NOT NULL,
  -- Number of the files' last writing; 0 before the first.
  generation {{int}} NOT NULL,
  row_count {{int}} NOT NULL,
  files {{text}} NOT NULL,
  refreshed_us {{int}},
  due_us {{int}} NOT NULL,
  error {{text}},
  token {{int}} NOT NULL,
  lease_us {{int}} NOT NULL,
  created_us {{int}} NOT NULL
) {{heap}};
