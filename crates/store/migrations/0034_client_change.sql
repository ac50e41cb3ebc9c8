-- What takes two people is also about applications: the id of the client, which has no account.
ALTER TABLE account_change ADD COLUMN client {{text}};
