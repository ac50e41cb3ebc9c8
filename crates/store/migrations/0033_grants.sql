-- Grants to act that wait for the patient's code or a second person. `from_us` is `until_us` meanwhile: no reader, also
-- of the release before, takes them for one in force.
ALTER TABLE proxy ADD COLUMN waits {{small}} NOT NULL DEFAULT 0;
-- What the RelatedPerson is written from once the grant is in force.
ALTER TABLE proxy ADD COLUMN relationship {{text}};
-- The one-time code on its way to the patient.
ALTER TABLE proxy ADD COLUMN code {{text}};
-- How it came into force: `patient-code` or `second-person`; NULL where one person's word is enough.
ALTER TABLE proxy ADD COLUMN way {{text}};
ALTER TABLE proxy ADD COLUMN confirmed_us {{int}};
ALTER TABLE proxy ADD COLUMN confirmed_by {{int}};

-- Care that somebody wrote while the record was open to her by a broken glass: what `source` gives this practitioner
-- ends at `until_us`, whoever writes `source` afterwards. `state`: `bound`, `kept` or `ended` by a reviewer, `gone` when
-- the resource names the practitioner no more.
CREATE TABLE emergency_care (
  source {{bytes}} NOT NULL,
  practitioner {{bytes}} NOT NULL,
  emergency {{bytes}} NOT NULL,
  at_us {{int}} NOT NULL,
  account {{int}} NOT NULL,
  until_us {{int}} NOT NULL,
  state {{text}} NOT NULL,
  decided_us {{int}},
  decided_by {{int}},
  PRIMARY KEY (source, practitioner)
) {{clustered}};
CREATE INDEX emergency_care_emergency ON emergency_care (emergency);
