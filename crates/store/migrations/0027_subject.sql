-- What people ask about their own data. The words are Communications under the patient's key and go with it; this row
-- is the evidence that stays: who asked for what, when, by when it had to be answered, by whom and how it was.
CREATE TABLE subject_request (
  id {{bytes}} PRIMARY KEY,
  patient {{bytes}} NOT NULL,
  kind {{text}} NOT NULL,
  state {{text}} NOT NULL,
  asked_us {{int}} NOT NULL,
  asked_by {{int}},
  -- Key of the entry that is wrong.
  entry {{bytes}},
  -- Key of the Communication with what was asked.
  words {{bytes}},
  due_us {{int}} NOT NULL,
  reminded_us {{int}},
  -- An erasure that one person has agreed to and a second one must carry out.
  approved_us {{int}},
  approved_by {{int}},
  answer {{text}},
  -- Code of the legal ground of a refusal, or the law of an erasure.
  ground {{text}},
  answered_us {{int}},
  answered_by {{int}},
  answer_words {{bytes}},
  disagreement {{bytes}},
  disagreed_us {{int}}
) {{heap}};
CREATE INDEX subject_request_patient ON subject_request (patient, asked_us);
CREATE INDEX subject_request_open ON subject_request (due_us) WHERE answered_us IS NULL;
CREATE INDEX subject_request_asked ON subject_request (asked_us);

-- While one is not lifted, nothing of the patient is erased.
CREATE TABLE legal_hold (
  id {{bytes}} PRIMARY KEY,
  patient {{bytes}} NOT NULL,
  reason {{text}} NOT NULL,
  placed_us {{int}} NOT NULL,
  placed_by {{int}} NOT NULL,
  lifted_us {{int}},
  lifted_by {{int}},
  lift_reason {{text}}
) {{heap}};
CREATE INDEX legal_hold_patient ON legal_hold (patient, placed_us);
CREATE INDEX legal_hold_running ON legal_hold (placed_us) WHERE lifted_us IS NULL;

-- Rules of retention that the clinic made other than they come.
CREATE TABLE retention_rule (
  class {{text}} PRIMARY KEY,
  years {{int}} NOT NULL,
  -- For who was a child then: at least until this age.
  minor_age {{int}},
  -- The law asks for it: nothing goes earlier, even on request.
  duty {{small}} NOT NULL,
  law {{text}} NOT NULL,
  -- Counsel has looked at it.
  checked {{small}} NOT NULL,
  changed_us {{int}} NOT NULL,
  changed_by {{int}} NOT NULL
) {{clustered}};

-- Records whose time is over, as the worker found them.
CREATE TABLE retention_due (
  patient {{bytes}} PRIMARY KEY,
  found_us {{int}} NOT NULL,
  -- Since when it is over, and by which class of record.
  since_us {{int}} NOT NULL,
  class {{text}} NOT NULL,
  law {{text}} NOT NULL,
  approved_us {{int}},
  approved_by {{int}},
  -- Kept nevertheless until then, and why.
  kept_until_us {{int}},
  kept_by {{int}},
  kept_reason {{text}}
) {{clustered}};
CREATE INDEX retention_due_since ON retention_due (since_us);

-- What stays of a record that was erased.
CREATE TABLE erasure (
  patient {{bytes}} PRIMARY KEY,
  at_us {{int}} NOT NULL,
  -- The request it was done for; none: its time was over.
  request {{bytes}},
  approved_by {{int}} NOT NULL,
  carried_out_by {{int}} NOT NULL,
  law {{text}} NOT NULL,
  resources {{int}} NOT NULL,
  -- Empty: begun, and something may still be readable.
  done_us {{int}}
) {{clustered}};
CREATE INDEX erasure_at ON erasure (at_us);

-- To whom data may go: OAuth clients, endpoints of subscriptions, exports, gateways of messages.
CREATE TABLE recipient (
  id {{bytes}} PRIMARY KEY,
  kind {{text}} NOT NULL,
  -- Id of the client, host of the endpoint, name of the gateway.
  name {{text}} NOT NULL,
  title {{text}} NOT NULL,
  -- ISO 3166-1, two letters.
  country {{text}} NOT NULL,
  -- Code of the basis of a transfer to another country; empty within the country.
  basis {{text}} NOT NULL,
  note {{text}} NOT NULL,
  registered_us {{int}} NOT NULL,
  registered_by {{int}},
  ended_us {{int}},
  ended_by {{int}}
) {{heap}};
CREATE INDEX recipient_name ON recipient (kind, name);
CREATE INDEX recipient_registered ON recipient (registered_us);

-- Agreements to serve the record from another country; two people are needed.
CREATE TABLE region_move (
  region {{text}} NOT NULL,
  account {{int}} NOT NULL,
  at_us {{int}} NOT NULL,
  reason {{text}} NOT NULL,
  PRIMARY KEY (region, account)
) {{clustered}};
