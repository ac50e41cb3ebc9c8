CREATE TABLE ledger_account (
  id {{serial}},
  code {{text}} NOT NULL UNIQUE,
  name {{text}} NOT NULL,
  kind {{small}} NOT NULL,
  currency {{text}} NOT NULL
) {{heap}};

CREATE TABLE ledger_transaction (
  id {{bytes}} PRIMARY KEY,
  at_us {{int}} NOT NULL,
  memo {{text}} NOT NULL,
  cause {{bytes}},
  external_key {{text}} NOT NULL UNIQUE
) {{clustered}};
CREATE INDEX ledger_transaction_cause ON ledger_transaction (cause) WHERE cause IS NOT NULL;

-- Debits positive, credits negative, minor units.
CREATE TABLE ledger_entry (
  number {{serial}},
  transaction_id {{bytes}} NOT NULL REFERENCES ledger_transaction (id),
  line {{small}} NOT NULL,
  account {{int}} NOT NULL REFERENCES ledger_account (id),
  at_us {{int}} NOT NULL,
  amount_minor {{int}} NOT NULL CHECK (amount_minor <> 0),
  currency {{text}} NOT NULL,
  UNIQUE (transaction_id, line)
) {{heap}};
CREATE INDEX ledger_entry_account ON ledger_entry (account, at_us, number);
CREATE INDEX ledger_entry_time ON ledger_entry (at_us, number);

-- [sqlite]
CREATE TRIGGER ledger_entry_no_update BEFORE UPDATE ON ledger_entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_entry_no_delete BEFORE DELETE ON ledger_entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_transaction_no_update BEFORE UPDATE ON ledger_transaction BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_transaction_no_delete BEFORE DELETE ON ledger_transaction BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
-- [postgres]
CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry EXECUTE FUNCTION append_only();
CREATE TRIGGER ledger_transaction_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transaction EXECUTE FUNCTION append_only();
-- [all]

CREATE TABLE payment (
  number {{serial}},
  id {{bytes}} NOT NULL UNIQUE,
  invoice {{bytes}} NOT NULL,
  patient {{bytes}},
  method {{text}} NOT NULL,
  amount_minor {{int}} NOT NULL CHECK (amount_minor > 0),
  currency {{text}} NOT NULL,
  phone {{text}},
  token_hash {{bytes}} UNIQUE,
  account {{int}},
  state {{text}} NOT NULL,
  reason {{text}},
  detail {{text}},
  merchant_request {{text}},
  checkout_request {{text}} UNIQUE,
  receipt {{text}} UNIQUE,
  created_us {{int}} NOT NULL,
  updated_us {{int}} NOT NULL
) {{heap}};
CREATE INDEX payment_invoice ON payment (invoice);
CREATE INDEX payment_patient ON payment (patient) WHERE patient IS NOT NULL;
CREATE INDEX payment_created ON payment (created_us, number);
CREATE INDEX payment_state ON payment (state, updated_us);

CREATE TABLE payment_step (
  number {{serial}},
  payment {{bytes}} NOT NULL,
  at_us {{int}} NOT NULL,
  state_from {{text}} NOT NULL,
  state_to {{text}} NOT NULL,
  reason {{text}},
  detail {{text}}
) {{heap}};
CREATE INDEX payment_step_payment ON payment_step (payment, number);
CREATE INDEX payment_step_paid ON payment_step (at_us) WHERE state_to = 'paid';
