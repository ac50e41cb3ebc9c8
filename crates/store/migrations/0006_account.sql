CREATE TABLE account (
  id {{serial}},
  login {{text}} UNIQUE,
  phone {{text}},
  email {{text}},
  display {{text}} NOT NULL,
  password_hash {{text}},
  roles {{text}} NOT NULL,
  patient {{bytes}},
  practitioner {{bytes}},
  language {{text}} NOT NULL,
  disabled {{small}} NOT NULL,
  failed_count {{small}} NOT NULL,
  throttled_us {{int}},
  last_login_us {{int}},
  created_us {{int}} NOT NULL
) {{heap}};
CREATE INDEX account_phone ON account (phone) WHERE phone IS NOT NULL;
CREATE INDEX account_email ON account (email) WHERE email IS NOT NULL;
CREATE INDEX account_patient ON account (patient) WHERE patient IS NOT NULL;
CREATE INDEX account_practitioner ON account (practitioner) WHERE practitioner IS NOT NULL;

CREATE TABLE session (
  token_hash {{bytes}} PRIMARY KEY,
  account {{int}} NOT NULL REFERENCES account (id),
  created_us {{int}} NOT NULL,
  last_seen_us {{int}} NOT NULL,
  idle_us {{int}} NOT NULL,
  expires_us {{int}} NOT NULL
) {{clustered}};
CREATE INDEX session_account ON session (account);

CREATE TABLE oauth_client (
  id {{text}} PRIMARY KEY,
  secret_hash {{bytes}} NOT NULL,
  name {{text}} NOT NULL,
  scopes {{text}} NOT NULL,
  disabled {{small}} NOT NULL,
  created_us {{int}} NOT NULL
) {{clustered}};

CREATE TABLE oauth_token (
  token_hash {{bytes}} PRIMARY KEY,
  client {{text}} NOT NULL REFERENCES oauth_client (id),
  scopes {{text}} NOT NULL,
  expires_us {{int}} NOT NULL
) {{clustered}};
CREATE INDEX oauth_token_client ON oauth_token (client);

CREATE TABLE one_time_code (
  id {{text}} PRIMARY KEY,
  purpose {{text}} NOT NULL,
  phone {{text}} NOT NULL,
  code_hash {{bytes}} NOT NULL,
  expires_us {{int}} NOT NULL,
  attempts {{small}} NOT NULL,
  sends {{small}} NOT NULL,
  sent_us {{int}} NOT NULL,
  payload {{text}} NOT NULL,
  account {{int}}
) {{clustered}};
CREATE INDEX one_time_code_phone ON one_time_code (phone, sent_us);
