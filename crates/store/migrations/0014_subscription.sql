-- What a Subscription resource asks for is in the resource; here is how far it has come. `id` is the resource's.
-- `due_us` is when the worker looks at it next; `until_us` when the lease of the one that does ends.
CREATE TABLE subscription (
  id {{text}} PRIMARY KEY,
  version {{int}} NOT NULL,
  owner {{text}} NOT NULL,
  scopes {{text}} NOT NULL,
  state {{small}} NOT NULL,
  pushed {{small}} NOT NULL,
  start_seq {{int}} NOT NULL,
  events {{int}} NOT NULL,
  delivered {{int}} NOT NULL,
  failures {{int}} NOT NULL,
  sent_us {{int}} NOT NULL,
  due_us {{int}},
  until_us {{int}} NOT NULL,
  token {{int}} NOT NULL,
  last_error {{text}}
) {{clustered}};
CREATE INDEX subscription_due ON subscription (due_us) WHERE due_us IS NOT NULL;

-- Numbered from 1 without gaps; `version` is that of the subject.
CREATE TABLE subscription_event (
  subscription {{text}} NOT NULL,
  number {{int}} NOT NULL,
  seq {{int}} NOT NULL,
  interaction {{small}} NOT NULL,
  subject {{bytes}} NOT NULL,
  version {{int}} NOT NULL,
  at_us {{int}} NOT NULL,
  PRIMARY KEY (subscription, number)
) {{clustered}};
CREATE INDEX subscription_event_age ON subscription_event (at_us);

-- Tokens by which a WebSocket is bound, as SHA-256.
CREATE TABLE subscription_binding (
  token_hash {{bytes}} NOT NULL,
  subscription {{text}} NOT NULL,
  expires_us {{int}} NOT NULL,
  PRIMARY KEY (token_hash, subscription)
) {{clustered}};
