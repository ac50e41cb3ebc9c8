-- What people prove themselves with, and what keeps others from guessing it.
ALTER TABLE account ADD COLUMN temporary {{small}} NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN factors {{small}} NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN password_us {{int}};

ALTER TABLE session ADD COLUMN authenticated_us {{int}} NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN factors {{text}} NOT NULL DEFAULT 'password';
ALTER TABLE session ADD COLUMN begun_us {{int}} NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN device {{text}} NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN address {{text}} NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN shared_device {{bytes}};

-- Hints for other servers that sessions of these accounts ended; each looks which of its own are gone.
CREATE TABLE session_end (
  number {{serial}},
  account {{int}} NOT NULL,
  at_us {{int}} NOT NULL
) {{heap}};
CREATE INDEX session_end_at ON session_end (at_us);

-- Failed tries on accounts that exist, by where they came from; unknown names never get here.
CREATE TABLE login_failure (
  account {{int}} NOT NULL,
  source {{bytes}} NOT NULL,
  failures {{int}} NOT NULL,
  last_us {{int}} NOT NULL,
  free_us {{int}} NOT NULL,
  PRIMARY KEY (account, source)
) {{clustered}};
CREATE INDEX login_failure_last ON login_failure (last_us);

-- Devices and addresses from which an account was signed in to: they have tries of their own.
CREATE TABLE known_origin (
  account {{int}} NOT NULL,
  origin {{bytes}} NOT NULL,
  first_us {{int}} NOT NULL,
  last_us {{int}} NOT NULL,
  PRIMARY KEY (account, origin)
) {{clustered}};
CREATE INDEX known_origin_last ON known_origin (last_us);

-- Links that are sent or shown once: invitations, new passwords, proxies.
CREATE TABLE account_link (
  token_hash {{bytes}} PRIMARY KEY,
  purpose {{text}} NOT NULL,
  account {{int}} NOT NULL,
  made_by {{int}},
  created_us {{int}} NOT NULL,
  expires_us {{int}} NOT NULL,
  payload {{text}} NOT NULL
) {{clustered}};
CREATE INDEX account_link_account ON account_link (account);

-- Between two steps of signing in or of making a passkey.
CREATE TABLE ceremony (
  id_hash {{bytes}} PRIMARY KEY,
  kind {{text}} NOT NULL,
  account {{int}},
  attempts {{small}} NOT NULL,
  expires_us {{int}} NOT NULL,
  payload {{text}} NOT NULL
) {{clustered}};
CREATE INDEX ceremony_expires ON ceremony (expires_us);

CREATE TABLE totp (
  account {{int}} PRIMARY KEY,
  secret {{bytes}} NOT NULL,
  confirmed {{small}} NOT NULL,
  last_step {{int}} NOT NULL,
  created_us {{int}} NOT NULL
) {{clustered}};

CREATE TABLE recovery_code (
  account {{int}} NOT NULL,
  code_hash {{bytes}} NOT NULL,
  PRIMARY KEY (account, code_hash)
) {{clustered}};

CREATE TABLE passkey (
  credential {{bytes}} PRIMARY KEY,
  account {{int}} NOT NULL,
  name {{text}} NOT NULL,
  data {{text}} NOT NULL,
  created_us {{int}} NOT NULL,
  last_used_us {{int}}
) {{clustered}};
CREATE INDEX passkey_account ON passkey (account);

-- Tablets that several people of the clinic share.
CREATE TABLE shared_device (
  id_hash {{bytes}} PRIMARY KEY,
  name {{text}} NOT NULL,
  made_by {{int}} NOT NULL,
  created_us {{int}} NOT NULL,
  last_us {{int}} NOT NULL
) {{clustered}};
CREATE TABLE device_pin (
  device {{bytes}} NOT NULL,
  account {{int}} NOT NULL,
  pin_hash {{text}} NOT NULL,
  failures {{small}} NOT NULL,
  created_us {{int}} NOT NULL,
  PRIMARY KEY (device, account)
) {{clustered}};
CREATE INDEX device_pin_account ON device_pin (account);

CREATE INDEX one_time_code_sent ON one_time_code (sent_us);
