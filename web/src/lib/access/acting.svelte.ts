import { session } from '$lib/session.svelte';
import type { Proxy } from './types';

/** Whose record the pages of the patient's portal are about: one's own, or that of somebody one acts for. */
class Acting {
  /** Everybody the person may act for at the moment. */
  all = $state.raw<Proxy[]>([]);
  /** The grant in use; undefined while the person acts for herself. */
  proxy = $state.raw<Proxy>();
  /** Pages that have nothing to show under the grant in use. */
  hidden = $state.raw<string[]>([]);

  /** Asks for whom the person acts; most act for nobody, and load nothing for it. */
  async start(): Promise<void> {
    if (session.has('proxy')) await (await import('./proxied')).load();
  }
  /** The patient whom the pages are about. */
  get patientId(): string | undefined {
    return this.proxy?.patient_id ?? session.me?.patient_id ?? undefined;
  }
  may(part: string): boolean {
    return this.proxy?.classes.includes(part) ?? true;
  }
  shows(href: string): boolean {
    return !this.hidden.includes(href);
  }
}

export const acting = new Acting();
