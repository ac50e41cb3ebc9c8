import { redirect } from '@sveltejs/kit';
import { session } from '$lib/session.svelte';

export async function load({ parent }) {
  await parent();
  // The numbers of the day are not for the privacy officer; the audit is where she starts.
  if (session.has('privacy-officer') && !session.has('administrator', 'it')) redirect(307, '/admin/audit');
}
