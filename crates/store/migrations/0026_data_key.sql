-- Which data key the contents of a patient are sealed under; the key itself is not in the database: see store::keys.
-- `erased_us`: when the patient was erased; then the key is destroyed.
CREATE TABLE patient_key (
  patient {{bytes}} PRIMARY KEY,
  key {{int}} NOT NULL,
  erased_us {{int}}
) {{clustered}};
CREATE INDEX patient_key_erased ON patient_key (erased_us) WHERE erased_us IS NOT NULL;
