-- Rows that are sealed (access::seal); all others are not here.
CREATE TABLE sealed (
  rid {{int}} PRIMARY KEY,
  seals {{int}} NOT NULL
) {{clustered}};

-- Who is named in sealed care. `whole`: opens these categories of the patient; else only the row that names her.
CREATE TABLE seal_key (
  practitioner {{bytes}} NOT NULL,
  patient {{bytes}} NOT NULL,
  rid {{int}} NOT NULL,
  seals {{int}} NOT NULL,
  whole {{small}} NOT NULL,
  PRIMARY KEY (practitioner, patient, rid)
) {{clustered}};
CREATE INDEX seal_key_rid ON seal_key (rid);

-- The rules of consents in force (access::consent). Of `actor` '' is whoever is not the patient, of `kind` -1 every type.
CREATE TABLE consent_rule (
  patient {{bytes}} NOT NULL,
  source {{bytes}} NOT NULL,
  number {{int}} NOT NULL,
  deny {{small}} NOT NULL,
  depth {{small}} NOT NULL,
  actor {{text}} NOT NULL,
  purposes {{int}} NOT NULL,
  kind {{int}} NOT NULL,
  seals {{int}} NOT NULL,
  from_us {{int}} NOT NULL,
  until_us {{int}} NOT NULL,
  PRIMARY KEY (patient, source, number)
) {{clustered}};
CREATE INDEX consent_rule_source ON consent_rule (source);

-- Broken glasses.
CREATE TABLE emergency (
  id {{bytes}} PRIMARY KEY,
  account {{int}} NOT NULL,
  patient {{bytes}} NOT NULL,
  reason {{text}} NOT NULL,
  explanation {{text}} NOT NULL,
  at_us {{int}} NOT NULL,
  until_us {{int}} NOT NULL,
  -- Earlier than `until_us` if the person closed it.
  ended_us {{int}},
  reviewed_us {{int}},
  reviewed_by {{int}},
  verdict {{text}},
  note {{text}},
  alerted_us {{int}}
) {{heap}};
CREATE INDEX emergency_account ON emergency (account, until_us);
CREATE INDEX emergency_open ON emergency (at_us) WHERE reviewed_us IS NULL;
CREATE INDEX emergency_patient ON emergency (patient, at_us);

-- Who acts for whom.
CREATE TABLE proxy (
  id {{bytes}} PRIMARY KEY,
  account {{int}} NOT NULL,
  patient {{bytes}} NOT NULL,
  related_person {{bytes}} NOT NULL,
  basis {{text}} NOT NULL,
  classes {{text}} NOT NULL,
  seals {{int}} NOT NULL,
  from_us {{int}} NOT NULL,
  until_us {{int}} NOT NULL,
  made_us {{int}} NOT NULL,
  made_by {{int}},
  ended_us {{int}},
  ended_by {{int}}
) {{heap}};
CREATE INDEX proxy_account ON proxy (account, until_us);
CREATE INDEX proxy_patient ON proxy (patient, until_us);

-- Cells of the table of rights that are other than they come, and how they came to be so.
CREATE TABLE rights_cell (
  role {{text}} NOT NULL,
  class {{text}} NOT NULL,
  verb {{text}} NOT NULL,
  reach {{text}} NOT NULL,
  PRIMARY KEY (role, class, verb)
) {{clustered}};

CREATE TABLE rights_change (
  id {{bytes}} PRIMARY KEY,
  at_us {{int}} NOT NULL,
  account {{int}} NOT NULL,
  role {{text}} NOT NULL,
  class {{text}} NOT NULL,
  verb {{text}} NOT NULL,
  before {{text}} NOT NULL,
  after {{text}} NOT NULL,
  reason {{text}} NOT NULL,
  -- `done` at once, `waiting` for a second person, `agreed`, `refused`.
  state {{text}} NOT NULL,
  decided_us {{int}},
  decided_by {{int}}
) {{heap}};
CREATE INDEX rights_change_at ON rights_change (at_us);
CREATE INDEX rights_change_waiting ON rights_change (at_us) WHERE state = 'waiting';
