import { i18n } from '$lib/i18n/index.svelte';

export async function load({ parent }) {
  await Promise.all([parent(), i18n.need('access')]);
}
