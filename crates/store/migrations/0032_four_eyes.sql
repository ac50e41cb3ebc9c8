-- What one person asks for about accounts and another one agrees to.
CREATE TABLE account_change (
  id {{bytes}} PRIMARY KEY,
  at_us {{int}} NOT NULL,
  account {{int}} NOT NULL,
  -- About whose account; none for one that is still to be made.
  target {{int}},
  act {{text}} NOT NULL,
  -- What stays of it for the history: names and roles, no ways to reach anybody.
  summary {{text}} NOT NULL,
  -- All of it, sealed; gone once nobody needs it.
  payload {{bytes}},
  reason {{text}} NOT NULL,
  -- `waiting`, `agreed`, `refused`, `expired`; `alone` where nobody else could have agreed.
  state {{text}} NOT NULL,
  expires_us {{int}} NOT NULL,
  -- From then on who asked may carry it out herself, if there is still nobody else.
  alone_us {{int}},
  -- Who asked may fetch a link or a password once.
  collect {{small}} NOT NULL,
  decided_us {{int}},
  decided_by {{int}},
  note {{text}}
) {{heap}};
CREATE INDEX account_change_at ON account_change (at_us);
CREATE INDEX account_change_waiting ON account_change (expires_us) WHERE state = 'waiting';

-- People who could agree until lately: who takes that away from everybody else is not alone at once.
CREATE TABLE decider_left (
  account {{int}} PRIMARY KEY,
  at_us {{int}} NOT NULL
) {{clustered}};

-- The glass was broken by somebody without a second factor, who typed her password anew.
ALTER TABLE emergency ADD COLUMN by_password {{small}} NOT NULL DEFAULT 0;
