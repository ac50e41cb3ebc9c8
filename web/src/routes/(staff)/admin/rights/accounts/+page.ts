import { i18n } from '$lib/i18n/index.svelte';

// What applications may do is told in the words in which people are asked about it.
export async function load({ parent }) {
  await Promise.all([parent(), i18n.need('access')]);
}
