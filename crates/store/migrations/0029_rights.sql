-- Rows of which some readers get less than there is: parts with labels of their own, and rows that refer to sealed ones.
CREATE TABLE veiled (
  rid {{int}} PRIMARY KEY,
  parts {{int}} NOT NULL
) {{clustered}};

-- What people in charge are told inside the program. Of `role` whoever has it, or of `account` that person alone.
CREATE TABLE notice (
  id {{bytes}} PRIMARY KEY,
  at_us {{int}} NOT NULL,
  role {{text}} NOT NULL,
  account {{int}},
  topic {{text}} NOT NULL,
  patient {{bytes}},
  subject {{text}} NOT NULL,
  data {{text}} NOT NULL
) {{heap}};
CREATE INDEX notice_role ON notice (role, at_us);
CREATE INDEX notice_account ON notice (account, at_us) WHERE account IS NOT NULL;
CREATE INDEX notice_at ON notice (at_us);

CREATE TABLE notice_seen (
  account {{int}} NOT NULL,
  notice {{bytes}} NOT NULL,
  at_us {{int}} NOT NULL,
  PRIMARY KEY (account, notice)
) {{clustered}};
