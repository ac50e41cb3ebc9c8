// Acting for somebody: who that can be, the choice, and what the grant leaves out.
import { api, ApiError } from '$lib/api/client';
import type { Page } from '$lib/api/types';
import { session } from '$lib/session.svelte';
import { acting } from './acting.svelte';
import type { Proxy } from './types';

/** The choice is kept for this tab only: the next person at the device starts as herself. */
const STORAGE = 'uzima.acting';
/** Which parts of a record each page of the patient's portal rests on; all of them are needed. */
const PARTS: Record<string, string[]> = {
  '/book': ['appointment'],
  '/appointments': ['appointment'],
  '/visits': ['visit'],
  // A summary that left something out would read as if there were nothing.
  '/medicines': ['visit', 'allergy', 'prescription', 'medicine', 'result', 'clinical'],
  '/payments': ['billing'],
  // Who decides about a record may know who looked at it.
  '/who-saw': ['consent'],
  '/sharing': ['consent']
};

/** Pages that a grant leaves nothing of. */
export function hiddenBy(classes: readonly string[] | undefined): string[] {
  if (!classes) return [];
  return Object.keys(PARTS).filter((href) => !PARTS[href]!.every((part) => classes.includes(part)));
}

export async function load(): Promise<void> {
  try {
    acting.all = (await api.get<Page<Proxy>>('me/acting-for')).items;
  } catch (error) {
    // Without an answer the person goes on as whom she was last shown as; the pages say what is not reached.
    if (!(error instanceof ApiError)) throw error;
    return;
  }
  let kept: string | null = null;
  try {
    kept = sessionStorage.getItem(STORAGE);
  } catch {
    // Without storage the choice lasts until the page is loaded again.
    kept = acting.proxy?.patient_id ?? null;
  }
  const first = session.me?.patient_id ? undefined : acting.all[0];
  put(acting.all.find((one) => one.patient_id === kept) ?? first);
}

/** Goes on as this patient: one's own id, or that of somebody one acts for. */
export function choose(patientId: string): void {
  const proxy = acting.all.find((one) => one.patient_id === patientId);
  put(proxy);
  try {
    if (proxy) sessionStorage.setItem(STORAGE, patientId);
    else sessionStorage.removeItem(STORAGE);
  } catch {
    // As above.
  }
}

function put(proxy: Proxy | undefined): void {
  acting.proxy = proxy;
  acting.hidden = hiddenBy(proxy?.classes);
}
