-- Whole copies, restore drills, restores, and times in which nothing could be sent; the newest thousand.
CREATE TABLE backup_run (
  id {{serial}},
  -- `base`, `drill`, `outage` or `restore`
  kind {{text}} NOT NULL,
  begun_us {{int}} NOT NULL,
  ended_us {{int}} NOT NULL,
  is_good {{small}} NOT NULL,
  -- Who asked for it; '' if nobody did.
  agent {{text}} NOT NULL,
  -- JSON: sizes, checks, problems.
  facts {{text}} NOT NULL
) {{heap}};
CREATE INDEX backup_run_kind ON backup_run (kind, id);

-- How far audit events have been taken to a second place.
CREATE TABLE audit_feed (
  place {{text}} PRIMARY KEY,
  last_seq {{int}} NOT NULL,
  sent {{int}} NOT NULL,
  at_us {{int}} NOT NULL,
  failed_us {{int}},
  error {{text}}
) {{clustered}};
