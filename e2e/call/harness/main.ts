// The smallest page that has a call in it: what the product's own page does around the surface, without the product.
import { mount } from 'svelte';
import '../../../web/src/styles/tokens.css';
import CallSurface from '../../../web/src/lib/call/CallSurface.svelte';
import { Call, checkRelay, type JoinGrant, type Quality } from '../../../web/src/lib/call';

const query = new URLSearchParams(location.search);
const ask = async <T>(what: string): Promise<T> => {
  const response = await fetch(`/${what}?${query}`);
  if (!response.ok) throw new Error(`${what}: ${response.status}`);
  return (await response.json()) as T;
};
const reports: Quality[] = [];
const call = new Call({
  join: () => ask<JoinGrant>('join'),
  refreshIce: async () => (await ask<{ ice_servers: JoinGrant['ice_servers'] }>('credentials')).ice_servers,
  reportQuality: (quality) => void reports.push(quality),
  base: query.get('ws')!,
  audioOnly: query.has('audio-only')
});
mount(CallSurface, {
  target: document.getElementById('call')!,
  props: { call, onend: query.get('role') === 'clinician' ? () => void ask('end') : undefined }
});
Object.assign(window, { call, reports, checkRelay: async () => checkRelay((await ask<JoinGrant>('credentials')).ice_servers) });
if (!query.has('wait')) void call.start();
