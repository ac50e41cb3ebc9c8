-- Applications that act for people: what they are, what they were granted, and the keys that vouch for who somebody is.
ALTER TABLE oauth_client ADD COLUMN authentication {{text}} NOT NULL DEFAULT 'secret';
ALTER TABLE oauth_client ADD COLUMN redirects {{text}} NOT NULL DEFAULT '';
ALTER TABLE oauth_client ADD COLUMN launch_url {{text}};
ALTER TABLE oauth_client ADD COLUMN jwks {{text}};
ALTER TABLE oauth_client ADD COLUMN jwks_url {{text}};
ALTER TABLE oauth_client ADD COLUMN algorithm {{text}} NOT NULL DEFAULT 'RS256';

-- One for each time a person agreed; all tokens that come of it are one family.
CREATE TABLE oauth_grant (
  id {{text}} PRIMARY KEY,
  account {{int}} NOT NULL REFERENCES account (id),
  client {{text}} NOT NULL REFERENCES oauth_client (id),
  scopes {{text}} NOT NULL,
  context {{text}} NOT NULL,
  created_us {{int}} NOT NULL,
  expires_us {{int}} NOT NULL,
  last_used_us {{int}},
  revoked_us {{int}}
) {{clustered}};
CREATE INDEX oauth_grant_account ON oauth_grant (account);
CREATE INDEX oauth_grant_client ON oauth_grant (client);
CREATE INDEX oauth_grant_expires ON oauth_grant (expires_us);

ALTER TABLE oauth_token ADD COLUMN grant_id {{text}};
CREATE INDEX oauth_token_grant ON oauth_token (grant_id) WHERE grant_id IS NOT NULL;

-- Kept after use until they would have expired anyway: a second use ends the family.
CREATE TABLE oauth_code (
  code_hash {{bytes}} PRIMARY KEY,
  grant_id {{text}} NOT NULL,
  client {{text}} NOT NULL,
  redirect {{text}} NOT NULL,
  challenge {{text}} NOT NULL,
  expires_us {{int}} NOT NULL,
  used {{int}} NOT NULL
) {{clustered}};
CREATE INDEX oauth_code_expires ON oauth_code (expires_us);

CREATE TABLE oauth_refresh (
  token_hash {{bytes}} PRIMARY KEY,
  grant_id {{text}} NOT NULL,
  client {{text}} NOT NULL,
  expires_us {{int}} NOT NULL,
  used {{int}} NOT NULL
) {{clustered}};
CREATE INDEX oauth_refresh_grant ON oauth_refresh (grant_id);
CREATE INDEX oauth_refresh_expires ON oauth_refresh (expires_us);

-- Signed assertions seen, until they would have expired.
CREATE TABLE oauth_assertion (
  client {{text}} NOT NULL,
  jti_hash {{bytes}} NOT NULL,
  expires_us {{int}} NOT NULL,
  PRIMARY KEY (client, jti_hash)
) {{clustered}};
CREATE INDEX oauth_assertion_expires ON oauth_assertion (expires_us);

-- Private halves are sealed under the installation's key.
CREATE TABLE oauth_key (
  id {{text}} PRIMARY KEY,
  algorithm {{text}} NOT NULL,
  private {{bytes}} NOT NULL,
  public {{text}} NOT NULL,
  created_us {{int}} NOT NULL
) {{clustered}};
