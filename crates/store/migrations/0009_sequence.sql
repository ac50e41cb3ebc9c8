-- Numbers people read, such as record numbers.
CREATE TABLE sequence (
  name {{text}} PRIMARY KEY,
  value {{int}} NOT NULL
) {{clustered}};
