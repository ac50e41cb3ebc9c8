-- What a Subscription's endpoint asks for at its door. Apart from the resource, so that no version of it, no search and
-- no export shows it. `headers`: a JSON list of `Name: value`.
CREATE TABLE subscription_header (
  subscription {{text}} PRIMARY KEY,
  headers {{text}} NOT NULL
) {{clustered}};
