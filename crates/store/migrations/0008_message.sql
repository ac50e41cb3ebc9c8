-- `due_us` is when a queued message may go out, or when the lease of one being sent ends.
CREATE TABLE message (
  number {{serial}},
  id {{bytes}} NOT NULL UNIQUE,
  channel {{small}} NOT NULL,
  recipient {{text}} NOT NULL,
  language {{text}} NOT NULL,
  template {{text}} NOT NULL,
  body {{text}} NOT NULL,
  account {{int}},
  patient {{bytes}},
  state {{text}} NOT NULL,
  provider_id {{text}} UNIQUE,
  cost {{text}},
  attempts {{small}} NOT NULL,
  max_attempts {{small}} NOT NULL,
  error {{text}},
  due_us {{int}} NOT NULL,
  expires_us {{int}} NOT NULL,
  created_us {{int}} NOT NULL,
  updated_us {{int}} NOT NULL,
  token {{int}} NOT NULL
) {{heap}};
CREATE INDEX message_due ON message (due_us, number) WHERE state IN ('queued', 'sending');
CREATE INDEX message_created ON message (created_us, number);
CREATE INDEX message_recipient ON message (recipient, created_us, number);
CREATE INDEX message_patient ON message (patient, created_us, number) WHERE patient IS NOT NULL;

-- Delivery reports that came before we knew the provider's id.
CREATE TABLE message_report (
  provider_id {{text}} PRIMARY KEY,
  state {{text}} NOT NULL,
  error {{text}},
  at_us {{int}} NOT NULL
) {{clustered}};
