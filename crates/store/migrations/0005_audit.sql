-- `agent` is the term of e.g. account/7, `agent_details` of agent, role and display name as they were.
CREATE TABLE audit (
  seq {{rowid}},
  at_us {{int}} NOT NULL,
  action {{small}} NOT NULL,
  outcome {{small}} NOT NULL,
  agent {{small}} NOT NULL,
  agent_details {{small}} NOT NULL,
  address {{bytes}},
  request {{bytes}},
  purpose {{small}} NOT NULL,
  target {{bytes}},
  what {{text}},
  patients {{bytes}}
) {{heap}};
CREATE INDEX audit_agent ON audit (agent, seq);
CREATE INDEX audit_time ON audit (at_us, seq);

CREATE TABLE audit_patient (
  patient {{bytes}} NOT NULL,
  seq {{int}} NOT NULL,
  PRIMARY KEY (patient, seq)
) {{clustered}};

-- [sqlite]
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_patient_no_update BEFORE UPDATE ON audit_patient BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_patient_no_delete BEFORE DELETE ON audit_patient BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
-- [postgres]
CREATE FUNCTION append_only() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_patient_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_patient EXECUTE FUNCTION append_only();
-- [all]
