-- People whom an outside provider of identities vouches for.
CREATE TABLE outside_identity (
  id {{serial}},
  issuer {{text}} NOT NULL,
  subject {{text}} NOT NULL,
  account {{int}} NOT NULL REFERENCES account (id),
  roles {{text}} NOT NULL,
  linked_by {{int}},
  created_us {{int}} NOT NULL,
  last_us {{int}}
) {{heap}};
CREATE UNIQUE INDEX outside_identity_subject ON outside_identity (issuer, subject);
CREATE INDEX outside_identity_account ON outside_identity (account);

-- Sessions that came of it, named as in `session`: the provider may end them, and we its own.
CREATE TABLE outside_session (
  account {{int}} NOT NULL,
  begun_us {{int}} NOT NULL,
  issuer {{text}} NOT NULL,
  subject {{text}} NOT NULL,
  sid {{text}},
  token {{bytes}} NOT NULL,
  expires_us {{int}} NOT NULL,
  PRIMARY KEY (account, begun_us)
) {{clustered}};
CREATE INDEX outside_session_subject ON outside_session (issuer, subject);
CREATE INDEX outside_session_sid ON outside_session (issuer, sid) WHERE sid IS NOT NULL;
CREATE INDEX outside_session_expires ON outside_session (expires_us);

-- What was used once: answers of providers, and their tokens that end sessions.
CREATE TABLE outside_used (
  hash {{bytes}} PRIMARY KEY,
  expires_us {{int}} NOT NULL
) {{clustered}};
CREATE INDEX outside_used_expires ON outside_used (expires_us);
