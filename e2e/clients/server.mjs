// The server under test: UZIMA_URL, UZIMA_CLIENT_ID and UZIMA_CLIENT_SECRET name it.

export const url = process.env.UZIMA_URL;
export const base = `${url}/fhir/R4`;

export async function token() {
  const answer = await fetch(`${url}/oauth/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: process.env.UZIMA_CLIENT_ID,
      client_secret: process.env.UZIMA_CLIENT_SECRET,
      scope: 'system/*.cruds',
    }),
  });
  return (await answer.json()).access_token;
}
